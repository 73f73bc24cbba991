//! Calls on stream sockets.
#![expect(unsafe_code, reason = "these calls fill or read memory of the caller's")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, getsockopt, setsockopt, socket, sockopt,
};

use super::{Address, retry};

/// recv(2). 0 is the end of the stream, unless `into` is empty.
pub(crate) fn receive(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: `into` is live and writable for its length.
        unsafe { libc::recv(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) }
    })
}

/// readv(2) into two pieces, filled in order.
pub(crate) fn receive_two(fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
    let pieces = [IoSliceMut::new(first), IoSliceMut::new(second)];
    retry(|| {
        // SAFETY: `IoSliceMut` has the layout of iovec, both pieces are live and writable.
        unsafe { libc::readv(fd.as_raw_fd(), pieces.as_ptr().cast(), 2) }
    })
}

/// send(2) for one piece, sendmsg(2) for more. The caller offers at most `IOV_MAX` (1024) pieces.
pub(crate) fn send(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if let [piece] = pieces {
        return retry(|| {
            // SAFETY: the piece is live and readable for its length.
            unsafe { libc::send(fd.as_raw_fd(), piece.as_ptr().cast(), piece.len(), FLAGS) }
        });
    }
    // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len();
    retry(|| {
        // SAFETY: `IoSlice` has the layout of iovec; the pieces are live, and sendmsg only reads them.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, FLAGS) }
    })
}

/// shutdown(2) of the sending direction. A peer that is gone already is no error.
pub(crate) fn shutdown_send(fd: BorrowedFd<'_>) -> io::Result<()> {
    match nix::sys::socket::shutdown(fd.as_raw_fd(), Shutdown::Write) {
        Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// connect(2): opens a socket and starts to connect it. The flag says whether it is connected already.
pub(crate) fn connect(address: &Address) -> io::Result<(OwnedFd, bool)> {
    let family = match address {
        Address::Tcp(tcp) if tcp.is_ipv6() => AddressFamily::Inet6,
        Address::Tcp(_) => AddressFamily::Inet,
        Address::Unix(_) => AddressFamily::Unix,
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if matches!(address, Address::Tcp(_)) {
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    }
    match nix::sys::socket::connect(fd.as_raw_fd(), &address.storage()?) {
        Ok(()) => Ok((fd, true)),
        Err(nix::errno::Errno::EINPROGRESS | nix::errno::Errno::EINTR) => Ok((fd, false)),
        Err(error) => Err(error.into()),
    }
}

/// How a started connect ended (`SO_ERROR`, socket(7)), once the socket is ready to send.
pub(crate) fn connect_result(fd: &OwnedFd) -> io::Result<()> {
    match getsockopt(fd, sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Whether accept4 has failed for the one connection that was about to be accepted; the next may be fine.
///
/// KERNEL: accept(2) passes on errors that are pending on the new socket, and lists these.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT
        )
    )
}
