//! Calls on Unix stream sockets, with descriptors in their luggage.
#![expect(unsafe_code, reason = "messages with ancillary data are described by raw pointers")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use linkpoll::faults::{at, at_most};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::{Site, retry};

/// The most descriptors that one call sends or receives.
///
/// INVARIANT: even, so that the room for them has no padding in which the kernel would find a place for one more.
pub(crate) const MOST_DESCRIPTORS: usize = 4;
const BYTES: usize = MOST_DESCRIPTORS * size_of::<RawFd>();
#[expect(clippy::cast_possible_truncation, reason = "sixteen bytes")]
// SAFETY: only computes.
const ROOM: usize = unsafe { libc::CMSG_SPACE(BYTES as libc::c_uint) } as usize;

/// Room for ancillary data, aligned as its header demands.
#[repr(C, align(8))]
struct Ancillary([u8; ROOM]);

const _: () = assert!(align_of::<Ancillary>() >= align_of::<libc::cmsghdr>());
const _: () = assert!(MOST_DESCRIPTORS.is_multiple_of(2));

/// As [`retry`], for a call that is given the most bytes that it may move: no limit, but for a test that wants it short.
fn retry_most<T>(site: Site, mut call: impl FnMut(usize) -> io::Result<T>) -> io::Result<T> {
    loop {
        match at_most(site, &mut call) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// What has arrived with one receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Bytes. 0 is the end of the stream, unless there was no room.
    pub(crate) bytes: usize,
    /// Descriptors were lost: more were sent than are ever received at once.
    pub(crate) too_many: bool,
    /// Descriptors were lost: this process can have no more.
    pub(crate) no_room: bool,
}

/// recvmsg(2) with `SCM_RIGHTS`: the descriptors that come with the bytes are added to `descriptors`.
///
/// KERNEL: unix(7): descriptors are a barrier: one call answers those of one sendmsg(2) at most, and bytes after it are
/// left for the next call. Bytes before it may come along.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    into: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<Arrived> {
    let mut ancillary = Ancillary([0; ROOM]);
    let mut piece = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iovlen = 1;
    message.msg_control = ancillary.0.as_mut_ptr().cast();
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let bytes = retry_most(Site::Receive, |most| {
        piece.iov_len = most.min(into.len());
        message.msg_iov = &raw mut piece;
        message.msg_controllen = ROOM;
        // SAFETY: the message describes live memory: `into` and `ancillary`, both writable.
        let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    })?;

    let before = descriptors.len();
    // SAFETY: the kernel has filled the message in.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: not null, so it lies inside of `ancillary`, aligned.
        let head = unsafe { header.read() };
        if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: as above.
            let data = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
            // SAFETY: only computes.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = head.cmsg_len.saturating_sub(empty) / size_of::<RawFd>();
            for number in 0..count {
                // SAFETY: the kernel has written `count` descriptors there.
                let at = unsafe { data.add(number) };
                // SAFETY: as above; they may be unaligned.
                let raw = unsafe { at.read_unaligned() };
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: the header is one of this message.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    // KERNEL: scm_detach_fds: as many as have room are given, also when the process runs out of descriptors; the rest
    // are closed by the kernel.
    let mut truncated = message.msg_flags & libc::MSG_CTRUNC != 0;
    if descriptors.len() > before && at(Site::Descriptors, || Ok::<_, Errno>(())).is_err() {
        descriptors.truncate(before);
        truncated = true;
    }
    let full = descriptors.len() - before == MOST_DESCRIPTORS;
    Ok(Arrived { bytes, too_many: truncated && full, no_room: truncated && !full })
}

/// sendmsg(2) of bytes, and of descriptors that travel with the first of them. Answers how many bytes were taken; if
/// any, then the descriptors were, too.
///
/// # Panics
/// When there are more than [`MOST_DESCRIPTORS`] descriptors.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    assert!(descriptors.len() <= MOST_DESCRIPTORS, "{} descriptors in one message", descriptors.len());
    let taken = |sent: libc::ssize_t| usize::try_from(sent).map_err(|_| io::Error::last_os_error());
    if descriptors.is_empty() {
        return retry_most(Site::Send, |most| {
            let len = bytes.len().min(most);
            // SAFETY: `bytes` is live and readable for its length.
            taken(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), len, FLAGS) })
        });
    }
    let mut ancillary = Ancillary([0; ROOM]);
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let len = libc::c_uint::try_from(size_of_val(descriptors)).unwrap_or(0);
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iovlen = 1;
    message.msg_control = ancillary.0.as_mut_ptr().cast();
    // SAFETY: only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(len) } as usize;
    // SAFETY: the message has room for a header (checked above: at most `ROOM` bytes are used of it).
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: only computes.
    let cmsg_len = unsafe { libc::CMSG_LEN(len) } as usize;
    let head = libc::cmsghdr { cmsg_len, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS };
    // SAFETY: the header lies inside of `ancillary`, aligned.
    unsafe { header.write(head) };
    // SAFETY: as above.
    let data = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
    for (number, descriptor) in descriptors.iter().enumerate() {
        // SAFETY: there is room for all of them.
        let at = unsafe { data.add(number) };
        // SAFETY: as above.
        unsafe { at.write_unaligned(descriptor.as_raw_fd()) };
    }
    retry_most(Site::SendDescriptors, |most| {
        piece.iov_len = most.min(bytes.len());
        message.msg_iov = &raw mut piece;
        // SAFETY: the message describes live memory, and sendmsg only reads it.
        taken(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, FLAGS) })
    })
}

/// Who has opened the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process. Numbers of processes are used again: for people to read, not to decide upon.
    pub process: i32,
    /// Its effective user.
    pub user: u32,
    /// Its effective group.
    pub group: u32,
}

/// getsockopt(2), `SO_PEERCRED`.
///
/// KERNEL: unix(7): as they were when the connection was made. A process that has inherited the socket is not asked.
pub(crate) fn credentials(fd: BorrowedFd<'_>) -> io::Result<Credentials> {
    let peer = at(Site::PeerCredentials, || getsockopt(&fd, sockopt::PeerCredentials))?;
    Ok(Credentials { process: peer.pid(), user: peer.uid(), group: peer.gid() })
}

/// geteuid(2): the user that this process is.
pub(crate) fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// connect(2) to a path; waits for room in the listener's queue, until `deadline`.
///
/// # Errors
/// As connect(2); `TimedOut` when the time is over.
pub(crate) fn connect(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    let address = UnixAddr::new(path)?;
    let fd =
        at(Site::Socket, || socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None))?;
    retry(Site::Connect, || {
        // KERNEL: socket(7): `SO_SNDTIMEO` limits connect(2), too; zero would be no limit.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        let seconds = libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX);
        let limit = TimeVal::new(seconds, i64::from(left.subsec_micros()).max(1));
        at(Site::SetOption, || setsockopt(&fd, sockopt::SendTimeout, &limit))?;
        nix::sys::socket::connect(fd.as_raw_fd(), &address)
    })
    .map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
    })?;
    Ok(fd)
}

/// poll(2): waits until the descriptor can be read, or written, or until `deadline`; a signal may end it early.
pub(crate) fn wait(fd: impl AsFd, to_write: bool, deadline: Instant) -> io::Result<()> {
    let events = if to_write { PollFlags::POLLOUT } else { PollFlags::POLLIN };
    // Rounded up: who wakes before the deadline would look, find nothing, and wait again.
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
    match at(Site::Poll, || poll(&mut [PollFd::new(fd.as_fd(), events)], timeout)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
