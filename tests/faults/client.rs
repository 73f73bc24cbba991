//! A client of the tests: an ordinary blocking socket that speaks in length-prefixed messages, and may fail.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use linkpoll::net::Address;

/// Longer than anything here takes, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "given up: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Bytes that are different for every `kind`, and repeat themselves after a number that is no multiple of any block's.
pub(crate) fn payload(kind: u64, len: usize) -> Vec<u8> {
    const PERIOD: usize = 8191;
    let mut state = kind.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut period: Vec<u8> = Vec::with_capacity(PERIOD + 8);
    while period.len() < PERIOD.min(len) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        period.extend(state.to_le_bytes());
    }
    period.truncate(PERIOD);
    let mut bytes = period.repeat(len.div_ceil(PERIOD));
    bytes.truncate(len);
    if let Some(first) = bytes.first_mut() {
        // Not one of the words that a handler acts on.
        *first |= 0x80;
    }
    bytes
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It got what it asked for, byte by byte.
    Served,
    /// It ended.
    Ended,
}

/// What the outcome of requests says of their connection.
///
/// # Panics
/// When bytes are wrong, or nothing came for too long.
pub(crate) fn fate(result: io::Result<()>) -> Fate {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    match result.map_err(|error| error.kind()) {
        Ok(()) => Fate::Served,
        Err(BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof) => Fate::Ended,
        Err(other) => panic!("a connection may be served, or end, but not so: {other}"),
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        let Address::Tcp(address) = address else { panic!("not an address of TCP") };
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    pub(crate) fn request(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a short message");
        self.stream.write_all(&[&length.to_be_bytes(), payload].concat())
    }

    pub(crate) fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(payload)
    }

    /// Receives the next reply, which must be this one.
    pub(crate) fn expect(&mut self, payload: &[u8]) -> io::Result<()> {
        let reply = self.reply()?;
        assert!(reply == payload, "a reply of {} bytes is not as it should be", reply.len());
        Ok(())
    }

    pub(crate) fn echo(&mut self, payload: &[u8]) -> io::Result<()> {
        self.request(payload)?;
        self.expect(payload)
    }

    /// Receives until the end, whichever way the server ends the connection.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        match self.stream.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes in little ahead of being read.
    pub(crate) fn receive_little(&self) {
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::RcvBuf, &(64 << 10))
            .expect("an option of sockets");
    }

    /// Closes the connection such that its peer is told of a reset.
    pub(crate) fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger)
            .expect("an option of sockets");
    }
}
