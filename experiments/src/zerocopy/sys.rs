//! Calls for sending by reference: one function, one system call.
#![expect(unsafe_code, reason = "these calls read and fill memory by address")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// KERNEL: `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED` of linux/errqueue.h.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// Records of an error queue that one call fetches.
pub(super) const RECORDS: usize = 4;
/// Room for the control data of one record: a header, `sock_extended_err` and an address (64 bytes), and, where somebody
/// has asked for times on the socket (socket(7)), two more headers with these (96 bytes). What has no room is lost.
const CONTROL: usize = 192;

/// Memory that comes back: of the calls with these numbers, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The first number.
    pub from: u32,
    /// The last number.
    pub to: u32,
    /// The kernel has copied the bytes after all (a hint: merged notifications carry the first one's).
    pub copied: bool,
}

/// Whether `SO_ZEROCOPY` is set (getsockopt(2)).
pub(super) fn is_enabled(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    let mut length: libc::socklen_t = 4;
    // SAFETY: value and length outlive the call and describe each other.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value != 0) }
}

/// Sets `SO_ZEROCOPY` (setsockopt(2)). `EOPNOTSUPP` where the family cannot lend (unix(7)).
pub(super) fn enable(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let value = libc::c_int::from(on);
    // SAFETY: the pointer is to an integer that outlives the call, and 4 is its size.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, (&raw const value).cast(), 4)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// sendmsg(2) that neither waits nor raises a signal. With `lend` the kernel goes on to read the bytes until it says
/// otherwise (`MSG_ZEROCOPY`): nobody may change them before. With `more`, the last packet waits for what comes
/// (`MSG_MORE`).
pub(super) fn send(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>], lend: bool, more: bool) -> io::Result<usize> {
    let mut flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if lend {
        flags |= libc::MSG_ZEROCOPY;
    }
    if more {
        flags |= libc::MSG_MORE;
    }
    // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len();
    loop {
        // SAFETY: `IoSlice` has the layout of iovec; the pieces are live, and the kernel only reads them. What it reads
        // later it reads from its own references to the pages.
        let n = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
        match usize::try_from(n) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// recvmmsg(2) from the error queue. Answers how many records were there, at most [`RECORDS`]; those about lent memory go
/// to `each`.
///
/// KERNEL: msg_zerocopy.rst: the number of the last call is in `ee_data`, of the first in `ee_info`, `ee_errno` is 0.
pub(super) fn error_queue(fd: BorrowedFd<'_>, mut each: impl FnMut(Notification)) -> io::Result<usize> {
    #[repr(C, align(8))]
    struct Control([u8; CONTROL]);
    let mut controls = [const { Control([0; CONTROL]) }; RECORDS];
    let mut messages = controls.each_mut().map(|control| {
        // SAFETY: all-zero is a valid mmsghdr: no name, no pieces, no control data.
        let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = CONTROL;
        message
    });
    const ROOM: libc::c_uint = 4;
    const { assert!(ROOM as usize == RECORDS) };
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: there is room for so many messages, each with live control data of its length; no timeout.
    let n =
        unsafe { libc::recvmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), ROOM, flags, std::ptr::null_mut()) };
    let Ok(n) = usize::try_from(n) else { return Err(io::Error::last_os_error()) };
    for message in &messages[..n.min(RECORDS)] {
        notifications(&message.msg_hdr, &mut each);
    }
    Ok(n)
}

fn notifications(message: &libc::msghdr, each: &mut impl FnMut(Notification)) {
    // SAFETY: the kernel has filled in the control data, and its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the macros answer null or a header inside of the control data.
        let libc::cmsghdr { cmsg_level: level, cmsg_type: kind, cmsg_len: length } =
            unsafe { header.read_unaligned() };
        let of_errors =
            matches!((level, kind), (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR));
        // SAFETY: a pure computation.
        let least = unsafe { libc::CMSG_LEN(LENGTH) } as usize;
        const LENGTH: u32 = 16;
        const { assert!(size_of::<libc::sock_extended_err>() == LENGTH as usize) };
        if of_errors && length >= least {
            // SAFETY: the data follows its header, and there is as much of it as was just checked.
            let data = unsafe { libc::CMSG_DATA(header) }.cast::<libc::sock_extended_err>();
            // SAFETY: as above.
            let error = unsafe { data.read_unaligned() };
            if error.ee_origin == ORIGIN_ZEROCOPY && error.ee_errno == 0 {
                let copied = error.ee_code & CODE_COPIED != 0;
                each(Notification { from: error.ee_info, to: error.ee_data, copied });
            }
        }
        // SAFETY: `header` is one of this message.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

/// shutdown(2) of both directions. A peer that is gone already is no error.
pub(super) fn shutdown(fd: BorrowedFd<'_>) -> io::Result<()> {
    match nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both) {
        Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
