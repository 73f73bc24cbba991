//! One connection, as its loop sees it: an automaton, the bytes not yet handled, and a handler.
//!
//! The [`Automaton`] decides; it has no socket, no buffer and no handler, so that every order of events can be tried
//! out on it. The reactor carries out what it answers.

mod automaton;
mod deadlines;
mod detached;
mod handle;
mod receipt;
#[cfg(test)]
mod tests;

pub use automaton::{Act, Arrival, Automaton, Hold, Marks, Phase};
pub(crate) use deadlines::{Deadlines, Limit};
pub use detached::{DetachError, Detached, Detaching};
pub use handle::Handle;
pub(crate) use handle::{Command, Deliver, Door};
pub(crate) use receipt::Receipts;
pub use receipt::{Receipt, SendError, SendFailure};

use std::fmt;
use std::io;

use crate::buffer::Chain;
use crate::handover::Promise;
use crate::net::Address;
use crate::service::{Handler, HandlerError};

/// Why a connection has ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its direction, and everything owed to it was sent.
    PeerEnded,
    /// The handler wanted it, and everything owed to the peer was sent.
    Finished,
    /// The handler gave up.
    Aborted(HandlerError),
    /// The handler panicked.
    Panicked,
    /// The connection broke.
    Broken(io::Error),
    /// The server stopped, and everything owed to the peer was sent.
    Stopped,
    /// The server stopped, and the time to drain was over.
    DrainExpired,
    /// No byte went either way for the idle limit.
    IdleExpired,
    /// A message that had begun was not whole within the read limit.
    ReadExpired,
    /// The peer took no byte of what is owed to it for the write limit.
    WriteExpired,
    /// The connection has left its loop, and goes on elsewhere.
    Detached,
}

/// A connection was ended through its handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedByHandle;

impl fmt::Display for AbortedByHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("aborted through a handle")
    }
}

impl std::error::Error for AbortedByHandle {}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerEnded => f.write_str("the peer ended the connection"),
            Self::Finished => f.write_str("the handler ended the connection"),
            Self::Aborted(error) => write!(f, "the handler gave up: {error}"),
            Self::Panicked => f.write_str("the handler panicked"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Stopped => f.write_str("the server stopped"),
            Self::DrainExpired => f.write_str("the server stopped and could not wait any longer"),
            Self::IdleExpired => f.write_str("the connection was idle for too long"),
            Self::ReadExpired => f.write_str("a message did not arrive whole in time"),
            Self::Detached => f.write_str("the connection was handed on"),
            Self::WriteExpired => f.write_str("the peer did not take what was sent to it in time"),
        }
    }
}

/// A connection on its loop.
pub(crate) struct Connection {
    pub(crate) automaton: Automaton,
    pub(crate) input: Chain,
    /// Taken out when the connection is closed: a handler ends once.
    pub(crate) handler: Option<Box<dyn Handler>>,
    pub(crate) peer: Box<Address>,
    pub(crate) reason: Option<Box<CloseReason>>,
    /// The rest of a large message that the handler waits for, in bytes, as it said first.
    pub(crate) expects: usize,
    /// The last call that was about the input has left bytes unread because it waits for more of them.
    pub(crate) wants_more: bool,
    pub(crate) deadlines: Deadlines,
    /// The handler has work under way: the connection is not idle, whatever the bytes say.
    pub(crate) busy: bool,
    /// The handler was told that the server stops.
    pub(crate) drained: bool,
    /// The peer was asked to end the connection, and its time for that is not over: the handler is not told to.
    pub(crate) leaving: bool,
    /// The last piece of the input lies in a buffer that the driver has few of.
    pub(crate) holds_scarce: bool,
    /// Made when somebody asks for it.
    pub(crate) handle: Option<Handle>,
    /// There while somebody waits for bytes to be sent.
    pub(crate) receipts: Option<Box<Receipts>>,
}

impl Connection {
    pub(crate) fn new(handler: Box<dyn Handler>, peer: Address, marks: Marks) -> Self {
        Self {
            automaton: Automaton::new(marks, handler.reads_on()),
            input: Chain::new(),
            handler: Some(handler),
            peer: Box::new(peer),
            reason: None,
            expects: 0,
            wants_more: false,
            deadlines: Deadlines::default(),
            busy: false,
            drained: false,
            leaving: false,
            holds_scarce: false,
            handle: None,
            receipts: None,
        }
    }

    /// Whether a message has begun, or had begun at the last call.
    #[inline]
    pub(crate) fn has_begun_reading(&self) -> bool {
        !self.input.is_empty() || self.deadlines.get(Limit::Read).is_some()
    }

    /// Whether bytes may be given to the driver, and nothing is to be [done](Self::passed) if it takes all of them at
    /// once.
    #[inline]
    pub(crate) fn is_through(&self, bytes: usize) -> bool {
        self.receipts.is_none() && self.automaton.is_through(bytes)
    }

    /// Whether anything is remembered of a message that has begun to arrive.
    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        let waits = self.wants_more | (self.expects > 0);
        waits | self.automaton.is_held(Hold::Unread) | self.deadlines.get(Limit::Read).is_some()
    }

    /// Bytes were given to the driver, which has taken some of them at once.
    pub(crate) fn passed(&mut self, bytes: usize, taken: usize) -> Act {
        if let Some(receipts) = &mut self.receipts {
            receipts.queued(bytes);
            if !receipts.sent(taken) {
                self.receipts = None;
            }
        }
        self.automaton.passed(bytes, taken)
    }

    /// Somebody waits until everything queued so far is sent.
    pub(crate) fn promise_sent(&mut self, promise: Promise<Result<(), SendError>>) {
        let unsent = self.automaton.unsent();
        let receipts = self.receipts.get_or_insert_with(|| Box::new(Receipts::new(unsent)));
        receipts.promise(0, promise);
        if !receipts.sent(0) {
            self.receipts = None;
        }
    }

    /// The driver has sent bytes.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize) -> Act {
        if let Some(receipts) = &mut self.receipts
            && !receipts.sent(bytes)
        {
            self.receipts = None;
        }
        self.automaton.sent(bytes)
    }

    /// Bytes received that are held for this connection, here or where its handler has passed them on.
    pub(crate) fn held(&self) -> usize {
        self.input.len() + self.handler.as_ref().map_or(0, |handler| handler.held())
    }

    /// Notes why the connection ends. Gives the reason back when an earlier one is noted.
    #[must_use]
    pub(crate) fn blame(&mut self, reason: CloseReason) -> Option<CloseReason> {
        if self.reason.is_some() {
            return Some(reason);
        }
        self.reason = Some(Box::new(reason));
        None
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("automaton", &self.automaton)
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}
