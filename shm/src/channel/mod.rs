//! Messages between two threads that wait for each other: the rings without a loop.
//!
//! A [`Channel`] is a [`Session`] of messages, whose borders are kept, with calls that block: they look at the ring for a
//! while, and then sleep. It is the shortest way from one process to another; there is no handler, no codec and no task.
//!
//! ```text
//!   send, stage       bytes --> a record of our ring                      sending.rs
//!   flush             what was staged becomes visible, and wakes the peer
//!   recv, recv_with   a record of the peer's ring --> bytes               receiving.rs
//!   waiting           look, for as long as that pays; then park, sleep    waiting.rs, patience.rs
//! ```
//!
//! # Messages
//!
//! * A message of up to [`longest_record`](Channel::longest_record) bytes, a quarter of the ring, is one record: it is copied
//!   in once, and out once. A longer one goes through the ring in parts, and the peer puts it together.
//! * A send that ends in the middle of a message, at its deadline, takes the message back: the peer never sees a part of it.
//! * What was staged or sent arrives in that order, once, also when this side dies afterwards.
//! * Nothing is lent and nothing is sealed. One side copies in while the other copies out, and that is at about nine tenths of
//!   what two processors can copy at all (`benches/channel`).
//!
//! # Waiting
//!
//! | [`Spin`] | |
//! |---|---|
//! | `Never` | sleep at once |
//! | `Once` | look for about a microsecond, then sleep |
//! | `Adaptive` | look for twice as long as it usually takes, [`Options::look`] at most, and not at all where it takes longer |
//! | `Always` | never sleep |
//!
//! A call that waits for room does not receive meanwhile: two sides that only send wait for each other until a deadline.
//! A peer that dies ends every wait; whoever only looks (`Always`, `try_recv`) notices within a tenth of a millisecond of
//! looking, or a few dozen calls.

mod error;
mod listener;
mod options;
mod patience;
mod receiving;
mod sending;
mod waiting;

use std::io;
use std::path::Path;
use std::time::Instant;

use linkpoll::reactor::Spin;
use linkpoll::sync::Arc;

use crate::handshake::{self, HandshakeError, features};
use crate::session::{Counters, Session, SessionError};
use crate::wire::Credentials;
pub use error::ChannelError;
pub use listener::Listener;
pub use options::Options;
use patience::Patience;
pub use receiving::{Message, MessageReader};
pub use sending::Room;
use waiting::Sleeper;
pub use waiting::Waits;

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Not at all.
    Now,
    /// Until then.
    At(Instant),
    /// As long as the peer lives.
    Never,
}

/// A connection that carries messages; see the [module's documentation](self).
///
/// Used by one thread at a time. Dropped, it ends its direction behind what was staged, and closes.
// Two channels of two threads must not share a cache line: each changes with every message.
#[repr(align(128))]
#[derive(Debug)]
pub struct Channel {
    session: Session,
    sleeper: Sleeper,
    patience: Patience,
    waits: Waits,
    /// The longest message, sent or received.
    longest: usize,
    /// Bytes of a message whose last record has not come, or of the last message, of which there are `held`. What lies behind
    /// is old.
    parts: Vec<u8>,
    filled: usize,
    held: usize,
    /// Parts of a message that will not go on were published.
    is_torn: bool,
    /// Looks in vain that have not asked the socket.
    looks: u32,
    /// The doorbells that we had rung when a wait last began.
    rung: u64,
    /// The session is over for this reason.
    over: Option<Arc<SessionError>>,
}

impl Channel {
    /// Connects to a [`Listener`] at `path`. Blocks for at most four steps of the handshake.
    ///
    /// # Errors
    /// When nobody listens there, when one of the sides would not have the session, or when it is not of messages.
    pub fn connect(path: impl AsRef<Path>, options: &Options) -> Result<Self, HandshakeError> {
        let established = handshake::connect(path, &options.of_session())?;
        let session = Session::new(established).map_err(HandshakeError::Local)?;
        Self::new(session, options).map_err(HandshakeError::Local)
    }

    /// A channel of a session that was made elsewhere.
    ///
    /// # Errors
    /// `InvalidInput` when the session is not one of messages
    /// ([`handshake::Content::Messages`]); `Unsupported` when it is another process's;
    /// otherwise as epoll_create1(2).
    pub fn new(session: Session, options: &Options) -> io::Result<Self> {
        session.check_process()?;
        if !session.agreed().has(features::MESSAGES) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a session of a stream is no channel"));
        }
        Ok(Self {
            sleeper: Sleeper::new(&session)?,
            session,
            patience: Patience::new(options.spin, options.look),
            waits: Waits::default(),
            longest: options.longest,
            parts: Vec::new(),
            filled: 0,
            held: 0,
            is_torn: false,
            looks: 0,
            rung: 0,
            over: None,
        })
    }

    /// The longest message that is one record, in bytes: a quarter of the ring, less 8.
    #[inline]
    #[must_use]
    pub fn longest_record(&self) -> usize {
        self.session.longest_record()
    }

    /// Who the peer was when it opened the connection (`SO_PEERCRED`, unix(7)).
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.session.credentials()
    }

    /// Whether the server has asked for the session to end soon, as far as this side has heard: it hears when it waits.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.session.is_leaving()
    }

    /// What was sent, received and rung.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.session.counters()
    }

    /// How it was waited.
    #[must_use]
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Changes how this side waits.
    pub fn set_spin(&mut self, spin: Spin) {
        self.patience.set_policy(spin);
    }

    #[inline]
    fn check(&self) -> Result<(), ChannelError> {
        match &self.over {
            None => Ok(()),
            Some(error) => Err(ChannelError::Session(Arc::clone(error))),
        }
    }

    /// An error of the session. One that is more than the peer's absence ends it: the peer is told, as far as that is
    /// possible without waiting, and nothing of its is looked at again.
    #[cold]
    fn fail(&mut self, error: SessionError) -> ChannelError {
        let is_absence = matches!(error, SessionError::PeerGone | SessionError::NobodyReads);
        if is_absence {
            return if self.session.has_ended() && matches!(error, SessionError::NobodyReads) {
                ChannelError::Ended
            } else {
                ChannelError::Session(Arc::new(error))
            };
        }
        self.session.refuse(&error);
        let error = Arc::new(error);
        self.over = Some(Arc::clone(&error));
        ChannelError::Session(error)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // In a child of fork(2) the memory is not there.
        if self.over.is_none() && self.session.check_process().is_ok() {
            // Whatever fails here fails for one who is leaving.
            drop(self.session.end());
        }
    }
}
