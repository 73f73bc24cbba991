//! Peers of drivers whose connections are sockets of the system: ordinary blocking sockets of the standard library.

use std::any::Any;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use linkpoll::net::Address;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, bind, getsockname, send, setsockopt,
    socket, sockopt,
};

use crate::{Family, Listening, Peer};

/// A socket at the other end of a connection.
#[derive(Debug)]
pub struct SocketPeer {
    /// A stream of either family: what is used of it is the same for both.
    stream: TcpStream,
}

impl SocketPeer {
    /// A connected pair: the peer, and a non-blocking socket for the driver.
    ///
    /// # Panics
    /// When the system has no sockets to give.
    #[must_use]
    pub fn pair(family: Family, patience: Duration) -> (Self, OwnedFd, Address) {
        let (ours, theirs, address) = match family {
            Family::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
                let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("a socket");
                let (theirs, address) = listener.accept().expect("a connection");
                ours.set_nodelay(true).expect("an option of TCP");
                (OwnedFd::from(ours), OwnedFd::from(theirs), Address::Tcp(address))
            }
            Family::Unix => {
                let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
                (OwnedFd::from(ours), OwnedFd::from(theirs), Address::Unix(PathBuf::new()))
            }
        };
        let theirs = TcpStream::from(theirs);
        theirs.set_nonblocking(true).expect("an option of sockets");
        (Self::new(TcpStream::from(ours), patience), OwnedFd::from(theirs), address)
    }

    /// A peer that gives up reading or writing after `patience`.
    ///
    /// # Panics
    /// When the socket has no time limits.
    #[must_use]
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        stream.set_nonblocking(false).expect("an option of sockets");
        stream.set_read_timeout(Some(patience)).expect("an option of sockets");
        stream.set_write_timeout(Some(patience)).expect("an option of sockets");
        Self { stream }
    }

    /// A peer that connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: &Address, patience: Duration) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(address) => TcpStream::connect(address)?,
            Address::Unix(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)),
        };
        Ok(Self::new(stream, patience))
    }
}

impl Peer for SocketPeer {
    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer can write");
    }

    fn offer(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("an option of sockets");
        let mut taken = 0;
        while taken < bytes.len() {
            match self.stream.write(&bytes[taken..]) {
                Ok(n) => taken += n,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    break;
                }
            }
        }
        self.stream.set_nonblocking(false).expect("an option of sockets");
        taken
    }

    fn read_some(&mut self, n: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; n];
        let n = self.stream.read(&mut bytes).expect("the peer can read");
        bytes.truncate(n);
        (n > 0).then_some(bytes)
    }

    fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the peer can end its direction");
    }

    /// Resets the connection, where it is one of TCP; Unix sockets are closed.
    fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &linger).expect("an option of sockets");
    }

    fn urgent(&mut self, byte: u8) {
        let sent = send(self.stream.as_raw_fd(), &[byte], MsgFlags::MSG_OOB);
        assert_eq!(sent, Ok(1), "the peer can send an urgent byte");
    }
}

/// A listening socket.
pub(crate) fn listen(address: &Address, patience: Duration) -> Listening<SocketPeer> {
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).expect("a port");
            let address = Address::Tcp(listener.local_addr().expect("an address"));
            Listening::new(address, move || {
                SocketPeer::new(listener.accept().expect("a connection").0, patience)
            })
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(path).expect("a path");
            Listening::new(address.clone(), move || {
                let stream = OwnedFd::from(listener.accept().expect("a connection").0);
                SocketPeer::new(TcpStream::from(stream), patience)
            })
        }
    }
}

/// A listener whose queue is full, so that its system answers no further connections.
pub(crate) fn silence() -> (Address, Box<dyn Any>) {
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("a port");
    nix::sys::socket::listen(&socket, Backlog::new(1).expect("a short queue")).expect("a listener");
    let bound: SockaddrIn = getsockname(socket.as_raw_fd()).expect("an address");
    let address = SocketAddr::from(([127, 0, 0, 1], bound.port()));
    let limit = Duration::from_millis(100);
    let connect = || TcpStream::connect_timeout(&address, limit).ok();
    let waiting: Vec<_> = std::iter::from_fn(connect).take(16).collect();
    (Address::Tcp(address), Box::new((socket, waiting)))
}
