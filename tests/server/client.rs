//! A client of the tests: an ordinary blocking socket that speaks in length-prefixed messages.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::SegmentWriter;
use linkpoll::net::Address;
use linkpoll::service::{Frame, Framed, Handler, HandlerError, Payload, Peer};

pub(crate) use crate::drivers::any_port;

/// Longer than anything here takes, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A socket path of one test.
pub(crate) fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("lp-server-{name}-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    path
}

/// An address of each family. `name` must be the test's own.
pub(crate) fn addresses(name: &str) -> [Address; 2] {
    [any_port(), Address::Unix(path(name))]
}

/// A handler that sends each message back, in memory of its own.
pub(crate) fn echo(_peer: &Peer) -> impl Handler + use<> {
    let answer = |request: Payload<'_>, reply: &mut SegmentWriter| -> Result<(), HandlerError> {
        request.pieces().try_for_each(|piece| reply.write(piece)).map_err(Into::into)
    };
    Framed::new(Frame::default(), answer)
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "given up: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs something that must come to an end.
pub(crate) fn within<R: Send + 'static>(
    limit: Duration,
    what: &str,
    run: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (tell, told) = channel();
    thread::spawn(move || tell.send(run()));
    told.recv_timeout(limit).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    /// A stream of either family: what is used of it is the same for both.
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: &Address) -> Self {
        Self::new(crate::drivers::connect(address))
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option of sockets");
        Self { stream }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server receives");
    }

    pub(crate) fn request(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short message");
        self.write(&[&length.to_be_bytes(), payload].concat());
    }

    pub(crate) fn reply(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("a reply");
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut payload).expect("a whole reply");
        payload
    }

    /// Whether a message comes back as it was sent.
    pub(crate) fn echoes(&mut self, payload: &[u8]) -> bool {
        self.request(payload);
        self.reply() == payload
    }

    /// Ends the client's direction.
    pub(crate) fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is there");
    }

    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("an orderly end");
        bytes
    }

    /// Whether the server has closed the connection, in whichever way.
    pub(crate) fn is_closed(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}
