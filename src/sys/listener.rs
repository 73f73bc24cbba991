//! Sockets that wait for connections.
#![expect(unsafe_code, reason = "accept4 is called with a buffer for the peer's address")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike as _, SockaddrStorage, bind, connect,
    getsockname, setsockopt, socket, sockopt,
};

use super::site::{Site, at};
use super::{Address, remove_file, retry, status};

/// The longest queue of connections waiting to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// Opens a listening socket and says which address it got (the real port where 0 was asked for).
///
/// TCP: `SO_REUSEADDR`, `SO_REUSEPORT` when asked for, and `TCP_NODELAY`, which accepted connections inherit.
/// Unix: a socket file that nobody listens on any more is replaced; any other file is left alone.
pub(crate) fn listen(address: &Address, reuse_port: bool) -> io::Result<(OwnedFd, Address)> {
    let family = match address {
        Address::Tcp(tcp) if tcp.is_ipv6() => AddressFamily::Inet6,
        Address::Tcp(_) => AddressFamily::Inet,
        Address::Unix(_) => AddressFamily::Unix,
    };
    let fd = at(Site::Socket, || socket(family, SockType::Stream, FLAGS, None))?;
    let storage = address.storage()?;
    match address {
        Address::Tcp(_) => {
            at(Site::SetOption, || setsockopt(&fd, sockopt::ReuseAddr, &true))?;
            if reuse_port {
                at(Site::SetOption, || setsockopt(&fd, sockopt::ReusePort, &true))?;
            }
            at(Site::SetOption, || setsockopt(&fd, sockopt::TcpNoDelay, &true))?;
        }
        Address::Unix(path) => remove_stale_socket(path, &storage)?,
    }
    at(Site::Bind, || bind(fd.as_raw_fd(), &storage))?;
    let backlog = Backlog::new(BACKLOG)?;
    at(Site::Listen, || nix::sys::socket::listen(&fd, backlog))?;
    let bound = at(Site::SocketName, || getsockname::<SockaddrStorage>(fd.as_raw_fd()))?;
    let bound = match address {
        Address::Tcp(_) => Address::from_storage(&bound),
        Address::Unix(_) => address.clone(),
    };
    Ok((fd, bound))
}

/// Whether a port is free, as an error if it is not. Listeners that share a port find it free as long as all others
/// share it, too; this also fails when those are somebody else's.
pub(crate) fn require_free(address: &Address) -> io::Result<()> {
    let family = if matches!(address, Address::Tcp(tcp) if tcp.is_ipv6()) {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let fd = at(Site::Socket, || socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None))?;
    at(Site::SetOption, || setsockopt(&fd, sockopt::ReuseAddr, &true))?;
    let storage = address.storage()?;
    Ok(at(Site::Bind, || bind(fd.as_raw_fd(), &storage))?)
}

/// Removes a socket file whose server is gone: connecting to it is refused.
///
/// KERNEL: connect(2): when somebody listens but has no room in the queue, a non-blocking socket is told so (`EAGAIN`)
/// and does not wait for it.
fn remove_stale_socket(path: &Path, address: &SockaddrStorage) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    if !status(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        return Ok(());
    }
    let probe = at(Site::Socket, || socket(AddressFamily::Unix, SockType::Stream, FLAGS, None))?;
    if at(Site::FileProbe, || connect(probe.as_raw_fd(), address)) == Err(Errno::ECONNREFUSED) {
        remove_file(path)?;
    }
    Ok(())
}

/// accept4(2). `WouldBlock` when no connection waits.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0);
    let fd = retry(Site::Accept, |_| {
        // SAFETY: `storage` and `len` are live and describe each other.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                storage.as_mut_ptr().cast(),
                ptr::from_mut(&mut len),
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        };
        fd as libc::ssize_t
    })?;
    let raw = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: `storage` was zeroed, then filled in up to `len` bytes by the kernel.
    let peer = unsafe { SockaddrStorage::from_raw(storage.as_ptr().cast(), Some(len)) };
    let peer =
        peer.map_or_else(|| Address::Unix(Path::new("").to_path_buf()), |peer| Address::from_storage(&peer));
    Ok((fd, peer))
}
