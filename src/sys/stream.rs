//! Calls on stream sockets.
#![expect(unsafe_code, reason = "these calls fill or read memory of the caller's")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, bind, getpeername, getsockopt, setsockopt,
    socket, sockopt,
};

use super::site::{Site, at};
use super::{Address, retry};

/// recv(2). 0 is the end of the stream, unless `into` is empty.
pub(crate) fn receive(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    retry(Site::Receive, |most| {
        let len = into.len().min(most);
        // SAFETY: `into` is live and writable for `len` bytes.
        unsafe { libc::recv(fd.as_raw_fd(), into.as_mut_ptr().cast(), len, libc::MSG_DONTWAIT) }
    })
}

/// readv(2) into two pieces, filled in order.
pub(crate) fn receive_two(fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
    retry(Site::ReceiveVectored, |most| {
        let (first, second) = match first.get_mut(..most) {
            Some(short) => (short, &mut [][..]),
            None => (&mut *first, &mut *second),
        };
        let pieces = [IoSliceMut::new(first), IoSliceMut::new(second)];
        // SAFETY: `IoSliceMut` has the layout of iovec, both pieces are live and writable.
        unsafe { libc::readv(fd.as_raw_fd(), pieces.as_ptr().cast(), 2) }
    })
}

/// recvmsg(2): takes one message off the error queue and drops it. Answers whether there was one.
///
/// KERNEL: unix(7): the flag is not known there, and the call answers nothing at all; only what comes from an error queue is
/// marked with it.
pub(crate) fn drop_error(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    let taken = retry(Site::ErrorQueue, |_| {
        // SAFETY: the message outlives the call, and has no room for anything to be written to.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) }
    });
    match taken {
        Ok(_) => Ok(message.msg_flags & libc::MSG_ERRQUEUE != 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// send(2) for one piece, sendmsg(2) for more. The caller offers at most `IOV_MAX` (1024) pieces.
pub(crate) fn send(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if let [piece] = pieces {
        return retry(Site::Send, |most| {
            // SAFETY: the piece is live and readable for its length.
            unsafe { libc::send(fd.as_raw_fd(), piece.as_ptr().cast(), piece.len().min(most), FLAGS) }
        });
    }
    // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    retry(Site::SendVectored, |most| {
        let short = pieces.first().and_then(|first| first.get(..most)).map(IoSlice::new);
        let pieces = short.as_ref().map_or(pieces, std::slice::from_ref);
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len();
        // SAFETY: `IoSlice` has the layout of iovec; the pieces are live, and sendmsg only reads them.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, FLAGS) }
    })
}

/// shutdown(2) of the sending direction. A peer that is gone already is no error.
pub(crate) fn shutdown_send(fd: BorrowedFd<'_>) -> io::Result<()> {
    match at(Site::Shutdown, || nix::sys::socket::shutdown(fd.as_raw_fd(), Shutdown::Write)) {
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// close(2).
pub(crate) fn close(fd: OwnedFd) {
    // KERNEL: close(2): the descriptor is given back whatever the answer is, and must not be closed again.
    let _: Result<(), Errno> = at(Site::Close, || {
        drop(fd);
        Ok(())
    });
}

/// connect(2): opens a socket, binds it to `local` if that is given, and starts to connect it. The flag says whether it
/// is connected already.
///
/// KERNEL: connect(2): a Unix socket whose listener's queue is full answers `EAGAIN`, and nothing is under way then.
pub(crate) fn connect(address: &Address, local: Option<SocketAddr>) -> io::Result<(OwnedFd, bool)> {
    let family = match address {
        Address::Tcp(tcp) if tcp.is_ipv6() => AddressFamily::Inet6,
        Address::Tcp(_) => AddressFamily::Inet,
        Address::Unix(_) => AddressFamily::Unix,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = at(Site::Socket, || socket(family, SockType::Stream, flags, None))?;
    if matches!(address, Address::Tcp(_)) {
        at(Site::SetOption, || setsockopt(&fd, sockopt::TcpNoDelay, &true))?;
    }
    if let Some(local) = local {
        bind_local(&fd, address, local)?;
    }
    let storage = address.storage()?;
    match at(Site::Connect, || nix::sys::socket::connect(fd.as_raw_fd(), &storage)) {
        Ok(()) => Ok((fd, true)),
        Err(Errno::EINPROGRESS | Errno::EINTR) => Ok((fd, false)),
        Err(error) => Err(error.into()),
    }
}

/// bind(2) of a socket that is to connect.
///
/// KERNEL: ip(7): with `IP_BIND_ADDRESS_NO_PORT` a port is chosen only by connect, for the pair of addresses, so that
/// connections to different peers may share one.
fn bind_local(fd: &OwnedFd, address: &Address, local: SocketAddr) -> io::Result<()> {
    if matches!(address, Address::Unix(_)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket has no local IP address"));
    }
    if local.port() == 0 {
        at(Site::SetOption, || setsockopt(fd, sockopt::IpBindAddressNoPort, &true))?;
    } else {
        at(Site::SetOption, || setsockopt(fd, sockopt::ReuseAddr, &true))?;
    }
    Ok(at(Site::Bind, || bind(fd.as_raw_fd(), &SockaddrStorage::from(local)))?)
}

/// Makes a descriptor of another's non-blocking, and answers the peer's address.
///
/// Errors: when it is no stream socket, or is not connected (socket(7), getpeername(2)).
pub(crate) fn adopt(fd: &OwnedFd) -> io::Result<Address> {
    if at(Site::SocketType, || getsockopt(fd, sockopt::SockType))? != SockType::Stream {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
    }
    let peer = peer_address(fd)?;
    let flags = OFlag::from_bits_retain(at(Site::FileFlags, || fcntl(fd, FcntlArg::F_GETFL))?);
    at(Site::FileFlags, || fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)))?;
    Ok(peer)
}

/// getpeername(2).
pub(crate) fn peer_address(fd: &OwnedFd) -> io::Result<Address> {
    let peer = at(Site::PeerName, || getpeername::<SockaddrStorage>(fd.as_raw_fd()))?;
    Ok(Address::from_storage(&peer))
}

/// How a started connect ended (`SO_ERROR`, socket(7)), once the socket is ready to send.
pub(crate) fn connect_result(fd: BorrowedFd<'_>) -> io::Result<()> {
    match at(Site::ConnectResult, || getsockopt(&fd, sockopt::SocketError))? {
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
