//! How a channel behaves.

use std::time::Duration;

use linkpoll::reactor::Spin;

use crate::handshake::{self, Content};

/// How a channel behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What its session brings, takes and allows. Its content is always messages.
    pub session: handshake::Options,
    /// How this side waits; see the [module's documentation](super). Default: adaptive.
    pub spin: Spin,
    /// The longest time that the adaptive policy looks before it sleeps. About what a sleep costs is right: 20 to 50 us.
    /// A peer that had to be woken gets as much again. Default: 50 us.
    pub look: Duration,
    /// The longest message in bytes, sent or received. A peer that sends a longer one ends the session. Default: 64 MiB.
    pub longest: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session: handshake::Options::default(),
            spin: Spin::Adaptive,
            look: Duration::from_micros(50),
            longest: 64 << 20,
        }
    }
}

impl Options {
    /// The session's, of messages.
    pub(super) fn of_session(&self) -> handshake::Options {
        handshake::Options { content: Content::Messages, ..self.session.clone() }
    }
}
