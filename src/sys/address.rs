//! Where a stream socket lives: an IP address and port, or a path.
#![expect(unsafe_code, reason = "a socket address filled in by the kernel is read through its family")]

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use nix::sys::socket::{SockaddrLike as _, SockaddrStorage, UnixAddr};

/// The address of a TCP or Unix stream socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6 (tcp(7)).
    Tcp(SocketAddr),
    /// A Unix stream socket bound to a path (unix(7)); the path is empty for an unnamed peer.
    Unix(PathBuf),
}

impl Address {
    /// Reads `host:port`, or a path when the text contains a `/`. A host name is looked up, which may block, and
    /// its first address is used.
    ///
    /// # Errors
    /// When the text is neither, or the name has no address.
    pub fn resolve(text: &str) -> io::Result<Self> {
        if text.contains('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let first = text.to_socket_addrs()?.next();
        first.map(Self::Tcp).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    /// As [`resolve`](Self::resolve), with all addresses of a host name, in the order in which they should be tried
    /// (getaddrinfo(3)). The look-up may block.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_all(text: &str) -> io::Result<Vec<Self>> {
        if text.contains('/') {
            return Ok(vec![Self::Unix(PathBuf::from(text))]);
        }
        Ok(text.to_socket_addrs()?.map(Self::Tcp).collect())
    }

    pub(super) fn storage(&self) -> io::Result<SockaddrStorage> {
        match self {
            Self::Tcp(address) => Ok(SockaddrStorage::from(*address)),
            Self::Unix(path) => {
                let unix = UnixAddr::new(path.as_path())?;
                // SAFETY: the pointer and the length describe the live `unix`.
                let storage = unsafe { SockaddrStorage::from_raw(unix.as_ptr().cast(), Some(unix.len())) };
                storage.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            }
        }
    }

    /// Reads an address that the kernel has filled in.
    pub(super) fn from_storage(storage: &SockaddrStorage) -> Self {
        if let Some(v4) = storage.as_sockaddr_in() {
            return Self::Tcp(SocketAddr::V4((*v4).into()));
        }
        if let Some(v6) = storage.as_sockaddr_in6() {
            return Self::Tcp(SocketAddr::V6((*v6).into()));
        }
        let path = storage.as_unix_addr().and_then(UnixAddr::path).unwrap_or(Path::new(""));
        Self::Unix(path.to_path_buf())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}
