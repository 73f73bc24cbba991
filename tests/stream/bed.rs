//! A server that hands every connection off to the test, and an ordinary socket at the other end.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::reactor::LoopOptions;
use linkpoll::stream::{self, Options, Stream};

use crate::drivers::{Server, any_port, connect};

/// Longer than anything here takes, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bed {
    /// Goes before the server, which waits for streams that nobody has taken.
    streams: Receiver<Stream>,
    pub(crate) server: Server,
}

impl Bed {
    pub(crate) fn new(options: Options) -> Self {
        Self::with(options, LoopOptions::default())
    }

    pub(crate) fn with(options: Options, loop_options: LoopOptions) -> Self {
        let (tell, streams) = channel();
        let hand_off =
            stream::hand_off(move |stream| tell.send(stream).expect("the test waits")).options(options);
        let server =
            Server::builder().loops(1).options(loop_options).bind(&any_port(), hand_off).expect("a server");
        Self { streams, server }
    }

    /// A peer, and the stream of its connection. No call on either of them takes for ever.
    pub(crate) fn connect(&self) -> (TcpStream, Stream) {
        let peer = connect(self.server.address());
        peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        peer.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mut stream = self.streams.recv_timeout(PATIENCE).expect("it is handed off");
        stream.reader().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.writer().set_write_timeout(Some(PATIENCE)).expect("a timeout");
        (peer, stream)
    }

    /// The connections that the server has now.
    pub(crate) fn connections(&self) -> u64 {
        self.server.usage().iter().map(|it| it.metrics.connections()).sum()
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "given up: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until no more bytes are sent, for longer than a loop that could send some would take. One that is kept from running
/// for so long is taken to be full too soon, which no test minds.
pub(crate) fn until_full(sent: impl Fn() -> u64) {
    until("the socket is full", || {
        let before = sent();
        thread::sleep(Duration::from_millis(50));
        before > 0 && sent() == before
    });
}

/// Bytes that tell when one is missing, doubled or misplaced.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(len / 8 + 1).flatten().collect();
    bytes.truncate(len);
    bytes
}
