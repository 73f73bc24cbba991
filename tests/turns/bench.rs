//! A loop on a bench.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use linkpoll::conn::CloseReason;
use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket};
use linkpoll::net::Address;
use linkpoll::reactor::{LoopMetrics, LoopOptions, Reactor, StopWord, Turn};
use linkpoll::service::{Handler, Peer};
use linkpoll::sync::Arc;

use crate::clock::{Clock, Clocked};
use crate::playing::{Note, Notes};

/// After so many turns without news nothing more happens by itself.
const QUIET: usize = 8;

/// See the module's documentation.
pub(crate) struct Bench {
    pub(crate) reactor: Reactor<Epoll<Clocked>>,
    pub(crate) clock: Clock,
    /// For handlers.
    pub(crate) notes: Notes,
    pub(crate) metrics: Arc<LoopMetrics>,
    handlers: Sender<Box<dyn Handler + Send>>,
    noted: Receiver<Note>,
    reasons: Receiver<CloseReason>,
}

impl Bench {
    pub(crate) fn new(options: LoopOptions) -> Self {
        Self::with_word(options, Arc::default())
    }

    /// A loop that shares its stop word with others.
    pub(crate) fn with_word(options: LoopOptions, word: Arc<StopWord>) -> Self {
        let clock = Clock::new();
        let (handlers, next) = channel::<Box<dyn Handler + Send>>();
        let (notes, noted) = channel();
        let (told, reasons) = channel();
        let driver = Epoll::with_kernel(Clocked::new(clock.clone()), EpollOptions::default());
        let maker = Box::new(move |_: &Peer| next.recv().expect("a handler for each connection") as _);
        let reactor = Reactor::new(driver.expect("a driver"), options, word, maker);
        let metrics = reactor.handle().metrics;
        let notes = Notes { notes, reasons: told };
        Self { reactor, clock, notes, metrics, handlers, noted, reasons }
    }

    /// Gives the loop a connection with this handler. Answers the other end, which does not block.
    pub(crate) fn connect(&mut self, handler: impl Handler + Send) -> Other {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("an option of sockets");
        theirs.set_nonblocking(true).expect("an option of sockets");
        self.will_serve(handler);
        self.attach(theirs);
        Other(ours)
    }

    pub(crate) fn attach(&mut self, socket: UnixStream) {
        let peer = Box::new(Address::Unix(Default::default()));
        self.reactor.attach(Socket { fd: OwnedFd::from(socket), peer });
    }

    /// The next connection gets this handler.
    pub(crate) fn will_serve(&self, handler: impl Handler + Send) {
        self.handlers.send(Box::new(handler)).expect("the loop is there");
    }

    pub(crate) fn turn(&mut self) -> Turn {
        self.reactor.turn().expect("the kernel waits")
    }

    /// Turns until nothing more happens by itself. Answers whether the loop has ended.
    pub(crate) fn settle(&mut self) -> bool {
        (0..QUIET).any(|_| self.turn() == Turn::Finished)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.clock.pass(time);
        self.settle();
    }

    /// The calls since the last time that this was asked.
    pub(crate) fn calls(&self) -> Vec<Note> {
        self.noted.try_iter().collect()
    }

    /// Why the connection that was closed last but `n` was closed.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.reasons.try_recv().ok()
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Other(pub(crate) UnixStream);

impl Other {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("there is room");
    }

    pub(crate) fn end(&mut self) {
        self.0.shutdown(Shutdown::Write).expect("it is connected");
    }

    /// Reads until nothing more comes.
    pub(crate) fn read_all(&mut self, bench: &mut Bench) {
        while !self.read().0.is_empty() {
            bench.settle();
        }
    }

    /// What has arrived, and whether the end has.
    pub(crate) fn read(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => (bytes, true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (bytes, false),
            Err(error) => panic!("{error}"),
        }
    }
}
