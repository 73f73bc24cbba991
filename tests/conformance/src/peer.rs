//! The other end of a connection: an ordinary blocking socket of the standard library.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use linkpoll::net::Address;
use nix::libc;
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};

/// The families of stream sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TCP over the loopback interface.
    Tcp,
    /// A Unix stream socket.
    Unix,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::Tcp, Family::Unix];

/// After so many bytes, a prime number, the pattern repeats.
const PERIOD: usize = 65_521;

static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect());

/// `n` bytes of a pattern that no block size divides, from position `from` on.
#[must_use]
pub fn pattern(from: usize, n: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n);
    while bytes.len() < n {
        let at = (from + bytes.len()) % PERIOD;
        let part = (PERIOD - at).min(n - bytes.len());
        bytes.extend_from_slice(&PATTERN[at..at + part]);
    }
    bytes
}

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// A stream of either family: what is used of it is the same for both.
    stream: TcpStream,
}

impl Peer {
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

    /// Writes everything, or panics.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer can write");
    }

    /// Sends an urgent byte (TCP), or panics.
    pub fn urgent(&mut self, byte: u8) {
        let sent = send(self.stream.as_raw_fd(), &[byte], MsgFlags::MSG_OOB);
        assert_eq!(sent, Ok(1), "the peer can send an urgent byte");
    }

    /// Writes for as long as the system takes bytes at once; answers how many it took.
    pub fn fill(&mut self) -> usize {
        let bytes = vec![b'f'; 1 << 16];
        let mut filled = 0;
        loop {
            let taken = self.offer(&bytes);
            filled += taken;
            if taken < bytes.len() {
                return filled;
            }
        }
    }

    /// Writes as many of these bytes as the system takes at once; answers how many it took.
    pub fn offer(&mut self, bytes: &[u8]) -> usize {
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

    /// Reads exactly `n` bytes, or panics.
    #[must_use]
    pub fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).expect("the peer can read");
        bytes
    }

    /// Reads at most `n` bytes, if some come within the patience. None at the end of the stream.
    #[must_use]
    pub fn read_some(&mut self, n: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; n];
        let n = self.stream.read(&mut bytes).expect("the peer can read");
        bytes.truncate(n);
        (n > 0).then_some(bytes)
    }

    /// Reads up to the end of the stream, or panics.
    #[must_use]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("the peer can read to the end");
        bytes
    }

    /// Ends the peer's direction.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the peer can end its direction");
    }

    /// Closes in a way that resets the connection (TCP).
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &linger).expect("an option of sockets");
    }

    /// Makes the receive buffer as small as it can be.
    pub fn little_room(&self) {
        setsockopt(&self.stream, sockopt::RcvBuf, &4096).expect("an option of sockets");
    }
}
