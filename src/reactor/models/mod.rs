//! Models of the event loop: the loop's own [`Reactor::turn`](super::Reactor::turn) on a driver without a kernel.
//!
//! Everything that other threads can do to a loop goes through its mailbox, its sleep flag and its stop word; the
//! models do each of these at every moment of a turn. A loop that sleeps on news that nobody announces is reported
//! as a deadlock, a socket that is lost as a leak.
//!
//! MODEL: time stands still, so no deadline ever helps a loop that should have been woken. Bytes are absent: they
//! never leave the loop's thread.

mod adopt;
mod call;
mod dial;
mod driver;
mod locals;
mod mail;
mod metrics;
mod receipt;
mod sleep;
mod stop;
mod wake;

use std::time::Duration;

use super::{LoopHandle, LoopOptions, Mail, Reactor, StopWord, Stopper, Turn};
use crate::conn::CloseReason;
use crate::conn::{Door as _, Handle};
use crate::driver::Key;
use crate::net::Dialer;
use crate::service::{Flow, Handler, Io, Peer};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicUsize, Counter, Ordering};
use driver::{Driver, Kernel, Socket};

/// A length of time that ends after every model.
const FOREVER: Duration = Duration::from_secs(3600);

/// How a connection behaves when it is asked to drain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It ends, and so does its peer.
    Polite,
    /// It goes on until it is closed.
    Stubborn,
}

/// A handler that only counts its end. What it asserts shows as a panic in the loop's metrics.
struct Serving {
    manner: Manner,
    drained: bool,
    ended: Arc<AtomicUsize>,
    news: Arc<AtomicUsize>,
    seen: Arc<Counter>,
}

impl Handler for Serving {
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        unreachable!("no model sends bytes")
    }

    fn drain(&mut self, _io: &mut Io<'_>) -> Flow {
        assert!(!std::mem::replace(&mut self.drained, true), "a connection is drained once");
        match self.manner {
            Manner::Polite => Flow::CloseWhenSent,
            Manner::Stubborn => Flow::Continue,
        }
    }

    fn woken(&mut self, _io: &mut Io<'_>) -> Flow {
        // ORDERING: Relaxed: the wake is to make it visible.
        let news = self.news.load(Ordering::Relaxed) as u64;
        self.seen.add(news - self.seen.get());
        Flow::Continue
    }

    fn closed(self: Box<Self>, _why: CloseReason) {
        // ORDERING: Relaxed: only the loop's thread counts and reads.
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A loop with its fake kernel.
struct Loop {
    reactor: Reactor<Driver>,
    kernel: Arc<Kernel>,
    word: Arc<StopWord>,
    /// Handlers that were told of their end.
    ended: Arc<AtomicUsize>,
    /// What other threads publish, and what the handler has seen of it.
    news: Arc<AtomicUsize>,
    seen: Arc<Counter>,
    turns: usize,
}

impl Loop {
    fn new(manner: Manner) -> Self {
        Self::with_word(Arc::default(), manner)
    }

    /// A loop that shares its stop word with others.
    fn with_word(word: Arc<StopWord>, manner: Manner) -> Self {
        let kernel = Arc::new(Kernel::new());
        let ended = Arc::new(AtomicUsize::new(0));
        let options = LoopOptions { drain_limit: FOREVER, linger_limit: FOREVER, ..LoopOptions::default() };
        let (news, seen): (Arc<AtomicUsize>, Arc<Counter>) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let shared = (Arc::clone(&ended), Arc::clone(&news), Arc::clone(&seen));
        let maker = Box::new(move |_: &_| -> Box<dyn Handler> {
            let (ended, news, seen) = shared.clone();
            Box::new(Serving { manner, drained: false, ended, news, seen })
        });
        let reactor = Reactor::new(Driver::new(Arc::clone(&kernel)), options, Arc::clone(&word), maker);
        Self { reactor, kernel, word, ended, news, seen, turns: 0 }
    }

    /// A loop that already has a listener and serves `socket`.
    fn serving(manner: Manner, socket: Socket) -> Self {
        let mut it = Self::new(manner);
        it.reactor.listen(&driver::nowhere(), false).unwrap();
        it.reactor.attach(socket);
        it
    }

    fn handle(&self) -> LoopHandle<Socket> {
        self.reactor.handle()
    }

    /// A handle of a connection, as its handler would ask for it.
    fn hold(&mut self, key: Key) -> Handle {
        let handle = self.reactor.mailbox.handle(key);
        self.reactor.slots.connection(key).unwrap().handle = Some(handle.clone());
        handle
    }

    fn dialer(&self) -> Dialer {
        Dialer::over(vec![Box::new(self.handle().post)])
    }

    /// A handler as the loop's own maker makes them, for a dial of another thread. The socket goes with the closure.
    fn make(&self, manner: Manner, socket: Socket) -> impl FnOnce(&Peer) -> Serving + Send + 'static {
        let (ended, news, seen) = (self.ended.clone(), self.news.clone(), self.seen.clone());
        move |_| {
            drop(socket);
            Serving { manner, drained: false, ended, news, seen }
        }
    }

    fn stopper(&self) -> Stopper {
        Stopper::new(Arc::clone(&self.word), vec![Box::new(self.handle().post)])
    }

    fn turn(&mut self) -> Turn {
        self.turns += 1;
        self.reactor.turn().unwrap()
    }

    /// Turns until so many sockets were taken in.
    fn serve(&mut self, sockets: usize) {
        while self.reactor.driver.attached < sockets {
            assert_eq!(self.turn(), Turn::Continue);
        }
    }

    /// Turns until the loop has ended by itself. Nothing may be left in it then. Answers how many connections it
    /// has served.
    fn run(&mut self) -> usize {
        while self.turn() == Turn::Continue {}
        let driver = &self.reactor.driver;
        assert!(driver.slots.is_empty(), "a connection or listener stays behind");
        // ORDERING: Relaxed: only this thread counts.
        assert_eq!(
            self.ended.load(Ordering::Relaxed),
            driver.attached,
            "each handler is told of its end once"
        );
        let metrics = &self.reactor.metrics;
        assert_eq!(metrics.opened.get(), driver.attached as u64);
        assert_eq!((metrics.connections(), metrics.panics.get()), (0, 0));
        driver.attached
    }
}

/// A thread that gives sockets to a loop as an acceptor does. Answers how many of them came back.
fn acceptor(
    handle: LoopHandle<Socket>,
    sockets: impl IntoIterator<Item = Socket> + Send + 'static,
) -> JoinHandle<usize> {
    thread::spawn(move || {
        let came_back = |socket| handle.post.send(Mail::Connection(socket)).is_err();
        sockets.into_iter().map(came_back).filter(|came_back| *came_back).count()
    })
}
