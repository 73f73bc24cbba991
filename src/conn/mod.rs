//! One connection, as its loop sees it: an automaton, the bytes not yet handled, and a handler.
//!
//! The [`Automaton`] decides; it has no socket, no buffer and no handler, so that every order of events can be tried
//! out on it. The reactor carries out what it answers.

mod automaton;
#[cfg(test)]
mod tests;

pub use automaton::{Act, Arrival, Automaton, Marks, Phase};

use std::fmt;
use std::io;

use crate::buffer::Chain;
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
}

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
    /// The handler has said that it waits for the rest of a large message.
    pub(crate) expects: bool,
}

impl Connection {
    pub(crate) fn new(handler: Box<dyn Handler>, peer: Address, marks: Marks) -> Self {
        Self {
            automaton: Automaton::new(marks),
            input: Chain::new(),
            handler: Some(handler),
            peer: Box::new(peer),
            reason: None,
            expects: false,
        }
    }

    /// Notes why the connection ends, unless an earlier reason is noted.
    pub(crate) fn blame(&mut self, reason: CloseReason) {
        self.reason.get_or_insert_with(|| Box::new(reason));
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
