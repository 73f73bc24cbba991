//! Where a server listens: a TCP address or the path of a Unix socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket};

use crate::error::LabError;

/// Connections that may wait to be accepted. A load opens thousands at once, and a full TCP queue costs a second.
const BACKLOG: i32 = 4096;

/// A TCP address, or a path where the text holds a `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP address; port 0 asks the kernel for a free one.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
            return Err("neither HOST:PORT nor a path that contains `/`".into());
        };
        if port.parse::<u16>().is_err() {
            return Err(format!("`{port}` is no port, which is a number up to 65535"));
        }
        let resolved = text.to_socket_addrs().ok().and_then(|mut found| found.next());
        resolved.map(Self::Tcp).ok_or_else(|| format!("no address is known for the host `{host}`"))
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

impl Address {
    /// Listens without blocking; returns the socket and the address that was really bound.
    ///
    /// # Errors
    /// The system's, for instance an address in use. A file already at a Unix path is one, stale or not.
    pub(crate) fn listen(&self) -> Result<(OwnedFd, Self), LabError> {
        self.bind().map_err(LabError::system(format!("listen on {self}")))
    }

    fn bind(&self) -> io::Result<(OwnedFd, Self)> {
        let (socket, bound): (OwnedFd, Self) = match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?;
                (listener.into(), Self::Tcp(bound))
            }
            Self::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                (listener.into(), self.clone())
            }
        };
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok((socket, bound))
    }

    /// Connects, and returns a socket that does not block, without Nagle's delay. Waits for a server whose queue of
    /// connections is full, at most `patience`.
    ///
    /// # Errors
    /// The system's, for instance a refused connection.
    pub(crate) fn connect(&self, patience: Duration) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, patience)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Self::Unix(path) => {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
                let (address, deadline) = (UnixAddr::new(path)?, Instant::now() + patience);
                // KERNEL: unix(7): a full queue refuses a socket that does not block, and never announces room.
                while let Err(errno) = connect(socket.as_raw_fd(), &address) {
                    match errno {
                        Errno::EAGAIN if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                        Errno::EAGAIN => return Err(Errno::ETIMEDOUT.into()),
                        other => return Err(other.into()),
                    }
                }
                Ok(socket)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_makes_it_a_path() {
        assert_eq!("./socket".parse(), Ok(Address::Unix("./socket".into())));
        assert_eq!("127.0.0.1:9000".parse(), Ok(Address::Tcp(([127, 0, 0, 1], 9000).into())));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for wrong in ["", "9000", ":9000", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?}");
        }
    }
}
