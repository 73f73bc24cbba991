//! What the driver knows of one key.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;

use linkpoll::buffer::{Chain, Tail};
use linkpoll::driver::Token;
use linkpoll::net::Address;

use crate::handshake::Handshake;
use crate::session::{Counters, Session};
use crate::wire::Credentials;

/// A session that is attached to no loop. Dropped, it is closed.
pub struct ShmSocket {
    pub(super) session: Box<Session>,
    pub(super) peer: Box<Address>,
}

impl ShmSocket {
    /// A socket of an established session.
    #[must_use]
    pub fn new(session: Session, peer: Address) -> Self {
        Self { session: Box::new(session), peer: Box::new(peer) }
    }

    /// Who has opened the other end (`SO_PEERCRED`, unix(7)).
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.session.credentials()
    }
}

impl fmt::Debug for ShmSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShmSocket").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A listener, a connection that is being made, or one that is.
#[derive(Debug)]
pub(super) enum Entry {
    Listener(Listener),
    Connecting(Box<Connecting>),
    Connection(Box<Connection>),
    /// A connection that was never made, and is to be closed.
    Failed,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) fd: OwnedFd,
    pub(super) receiving: bool,
    pub(super) is_watched: bool,
}

#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) handshake: Handshake,
    pub(super) address: Address,
    pub(super) receiving: bool,
    pub(super) unsent: Unsent,
    pub(super) wanted: usize,
    /// The sending direction is to be ended behind what is unsent.
    pub(super) ending: bool,
    /// What epoll reports: also room to send.
    pub(super) writing: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) peer: Box<Address>,
    pub(super) unsent: Unsent,
    /// Tokens of sent bytes that the peer has on loan: each with the loan by reference up to which all must be back.
    pub(super) lent: VecDeque<(u64, Token)>,
    /// Bytes that are expected for one message, and the block that they go to.
    pub(super) wanted: usize,
    pub(super) block: Option<Tail>,
    pub(super) receiving: bool,
    pub(super) ending: bool,
    /// `Eof` was told.
    pub(super) ended: bool,
    /// `Error` was told. Nothing is done for it any more.
    pub(super) failed: bool,
    /// It waits for a block.
    pub(super) starved: bool,
    /// It is looked at in each turn, without a doorbell.
    pub(super) is_active: bool,
    /// Its socket is to be read, whether epoll says so or not.
    pub(super) must_listen: bool,
    /// `Leaving` was told.
    pub(super) told_leaving: bool,
    /// What epoll reports: readability, and room to send.
    pub(super) watched: Option<bool>,
    /// What of its counts is in the driver's.
    pub(super) counted: Counters,
}

/// Bytes that have no room in the ring yet.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    pub(super) chain: Chain,
    /// Tokens, each with the number of unsent bytes up to its end.
    pub(super) tokens: VecDeque<(usize, Token)>,
}

impl Unsent {
    /// Adds bytes behind the others.
    pub(super) fn append(&mut self, chain: Chain, token: Option<Token>) {
        self.chain.append(chain);
        if let Some(token) = token {
            self.tokens.push_back((self.chain.len(), token));
        }
    }

    /// `n` bytes have left: counts them, and answers a token whose bytes are all gone. To be asked, with 0, until `None`.
    pub(super) fn took(&mut self, n: usize) -> Option<Token> {
        if n > 0 {
            self.tokens.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(n));
        }
        self.tokens.pop_front_if(|(left, _)| *left == 0).map(|(_, token)| token)
    }
}

impl Connection {
    pub(super) fn new(socket: ShmSocket) -> Self {
        // What it did elsewhere was counted there.
        let counted = *socket.session.counters();
        Self {
            session: *socket.session,
            peer: socket.peer,
            unsent: Unsent::default(),
            lent: VecDeque::new(),
            wanted: 0,
            block: None,
            receiving: true,
            ending: false,
            ended: false,
            failed: false,
            starved: false,
            is_active: false,
            must_listen: true,
            told_leaving: false,
            watched: None,
            counted,
        }
    }

    /// What the session has done since it was last counted, which it is now.
    #[inline]
    pub(super) fn count(&mut self) -> Counters {
        let news = self.uncounted();
        self.counted = *self.session.counters();
        news
    }

    /// What the session has done since it was last counted.
    #[inline]
    pub(super) fn uncounted(&self) -> Counters {
        self.session.counters().since(&self.counted)
    }

    /// Whether its peer is gone, and has left bytes that are to be received: they come before anything is told of what the
    /// peer does not take any more.
    #[inline]
    pub(super) fn has_last_words(&self) -> bool {
        self.session.peer_is_gone() && self.receiving && !self.ended && !self.failed
    }

    /// Whether bytes are to be taken from its ring.
    #[inline]
    pub(super) fn may_receive(&self) -> bool {
        self.receiving && !self.ended && !self.failed && !self.starved
    }
}
