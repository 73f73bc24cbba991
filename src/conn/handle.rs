//! Reaching a connection from any thread.
//!
//! A handle sends [`Command`]s to the connection's loop. Commands of one thread are carried out in their order; when
//! the connection is gone they come to nothing, and those that somebody waits for are answered.
//! A wake says that something is to be found elsewhere: a reply, a segment of a stream. It is a
//! [`Signal`](crate::handover::Signal): it coalesces, and allocates nothing.

use std::fmt;

use super::detached::{DetachError, Detached, Detaching};
use super::receipt::{Receipt, SendError, SendFailure};
use crate::buffer::Chain;
use crate::driver::Key;
use crate::handover::{Promise, Wake, oneshot};
use crate::net::Dialer;
use crate::sync::{Arc, AtomicBool, Ordering};

/// What a handle asks of its connection's loop.
pub(crate) enum Command {
    Wake,
    Send(Chain, Promise<Result<(), SendError>>),
    Close,
    Abort,
    Detach(Promise<Result<Detached, DetachError>>),
    Pause,
    Resume,
}

/// The way to a loop.
pub(crate) trait Deliver: Send + Sync + 'static {
    /// Has the connection's handler woken, see [`Handle::wake`].
    fn wake(&self);

    /// Gives the command back when the loop has ended.
    fn deliver(&self, key: Key, command: Command) -> Result<(), Command>;
}

/// Where handles of one loop's connections are made, and what brings it new ones.
pub(crate) trait Door {
    fn handle(&self, key: Key) -> Handle;
    fn dialer(&self) -> Dialer;

    /// Wakes the loop, for news that it finds elsewhere.
    fn waker(&self) -> Box<dyn Wake>;
}

struct Shared {
    key: Key,
    to_loop: Box<dyn Deliver>,
    active: AtomicBool,
    gone: AtomicBool,
}

/// Reaches one connection from any thread; cheap to clone. Nothing here blocks.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    pub(crate) fn new(key: Key, to_loop: Box<dyn Deliver>) -> Self {
        let (active, gone) = (AtomicBool::new(true), AtomicBool::new(false));
        Self(Arc::new(Shared { key, to_loop, active, gone }))
    }

    /// Has the connection's handler called with [`woken`](crate::service::Handler::woken), on its loop. Any number of
    /// wakes may end in one call; what the caller has published before is visible in it. Does nothing once the
    /// connection is closed.
    pub fn wake(&self) {
        if !self.is_gone() {
            self.0.to_loop.wake();
        }
    }

    /// Whether the connection still takes bytes to send; one load. The answer may be old as soon as it is given.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        // ORDERING: Relaxed: the value is all there is to see.
        self.0.active.load(Ordering::Relaxed)
    }

    /// Sends a chain behind whatever was written before. Chains sent by one thread leave in their order, and no
    /// chain is mixed with bytes of others. The receipt tells when the transport has taken all of it, or why not.
    ///
    /// Chains wait without limit of their own until the loop has [`most_unsent`] bytes for this connection; those
    /// that would exceed it are refused. An empty chain is a question: its receipt tells when everything before it was
    /// taken.
    ///
    /// [`most_unsent`]: crate::reactor::LoopOptions::most_unsent
    pub fn send(&self, chain: Chain) -> Receipt {
        let (promise, pending) = oneshot();
        if let Err(Command::Send(_, promise)) = self.deliver(Command::Send(chain, promise)) {
            promise.fulfil(Err(SendError { taken: 0, why: SendFailure::Closed }));
        }
        Receipt::new(pending)
    }

    /// Closes the connection when everything sent and written so far has left.
    pub fn close(&self) {
        self.tell(Command::Close);
    }

    /// Closes the connection at once.
    pub fn abort(&self) {
        self.tell(Command::Abort);
    }

    /// Takes the connection off its loop, with every byte that was received and not consumed, and every byte that was
    /// written and not sent. What this thread has sent before is among those. The handler is told
    /// [`CloseReason::Detached`](crate::conn::CloseReason::Detached).
    pub fn detach(&self) -> Detaching {
        let (promise, pending) = oneshot();
        // A loop that has ended drops the promise, and that is an answer.
        self.tell(Command::Detach(promise));
        Detaching::new(pending)
    }

    /// Receives nothing more, see [`Io::pause`](crate::service::Io::pause).
    pub fn pause(&self) {
        self.tell(Command::Pause);
    }

    /// Goes on to receive, see [`Io::resume`](crate::service::Io::resume).
    pub fn resume(&self) {
        self.tell(Command::Resume);
    }

    fn tell(&self, command: Command) {
        // A loop that has ended has closed the connection; there is nobody left to be told.
        drop(self.deliver(command));
    }

    fn deliver(&self, command: Command) -> Result<(), Command> {
        if self.is_gone() { Err(command) } else { self.0.to_loop.deliver(self.0.key, command) }
    }

    /// Whether nothing can be done any more. A handle may be kept for ever: it costs its loop nothing then, and no
    /// command of it is left to meet a later connection, however often keys come round.
    fn is_gone(&self) -> bool {
        // ORDERING: Relaxed: the value is all there is to see.
        self.0.gone.load(Ordering::Relaxed)
    }

    /// Loop: the connection takes no more bytes.
    pub(crate) fn retire(&self) {
        // ORDERING: Relaxed, as in `is_active`.
        self.0.active.store(false, Ordering::Relaxed);
    }

    /// Loop: the connection is closed.
    pub(crate) fn end(&self) {
        self.retire();
        // ORDERING: Relaxed, as in `is_gone`.
        self.0.gone.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("key", &self.0.key).field("active", &self.is_active()).finish()
    }
}
