//! What the epoll driver knows of one connection or listener.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::kernel::Interest;
use crate::buffer::{Chain, Tail};
use crate::driver::Token;
use crate::sys::Address;

/// A connection that is attached to no loop.
#[derive(Debug)]
pub struct Socket {
    /// The non-blocking descriptor. No duplicate of it may outlive the connection: the kernel would go on to report it.
    pub fd: OwnedFd,
    /// Where the other end is; boxed, because sockets are passed on inside of events.
    pub peer: Box<Address>,
}

/// What a slot's descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    /// A connection whose establishment is under way.
    Connecting,
    Connection,
}

/// Bytes that the socket had no room for.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    pub(super) chain: Chain,
    /// Bytes of this chain sent so far, and the tokens to release at such counts.
    pub(super) sent: u64,
    pub(super) tokens: VecDeque<(u64, Token)>,
}

impl Unsent {
    /// Adds bytes at the back, and the token to release when they are sent.
    pub(super) fn append(&mut self, chain: Chain, token: Option<Token>) {
        if self.chain.is_empty() {
            self.chain = chain;
        } else {
            self.chain.append(chain);
        }
        if let Some(token) = token {
            self.tokens.push_back((self.sent + self.chain.len() as u64, token));
        }
    }
}

/// The state of one descriptor. An idle connection has no heap memory here.
#[derive(Debug)]
pub(super) struct Slot<L> {
    pub(super) fd: OwnedFd,
    pub(super) kind: Kind,
    /// The caller wants to receive.
    pub(super) receiving: bool,
    /// Receiving has ended for good: end of stream, or an error.
    pub(super) ended: bool,
    /// Receiving rests because the pool has no block.
    pub(super) starved: bool,
    /// The sending direction is to be ended when nothing is left to send.
    pub(super) shutdown: bool,
    /// The sending direction has been ended.
    pub(super) send_ended: bool,
    /// What the kernel watches for; `None` when the descriptor is not registered.
    pub(super) watched: Option<Interest>,
    /// The slot is on the list of those whose watch is to be brought up to date.
    pub(super) stale: bool,
    /// The kernel keeps reporting a dead socket that nobody reads from: it is not watched until somebody does.
    pub(super) dead: bool,
    /// An error was told: there is no traffic any more.
    pub(super) failed: bool,
    /// What it has to send goes out with others'.
    pub(super) deferred: bool,
    /// It is among those that are just received from.
    pub(super) ahead: bool,
    pub(super) unsent: Option<Box<Unsent>>,
    /// What the send path knows of it. Dropped behind what is unsent, which may lie in the same blocks as what is lent.
    pub(super) line: L,
    /// Bytes that the next message still needs, and the block they are received into.
    pub(super) wanted: usize,
    pub(super) block: Option<Box<Tail>>,
    pub(super) peer: Option<Box<Address>>,
}

impl<L: Default> Slot<L> {
    pub(super) fn new(fd: OwnedFd, kind: Kind, peer: Option<Box<Address>>) -> Self {
        Self {
            fd,
            kind,
            receiving: true,
            ended: false,
            starved: false,
            shutdown: false,
            send_ended: false,
            watched: None,
            stale: false,
            dead: false,
            failed: false,
            deferred: false,
            ahead: false,
            line: L::default(),
            wanted: 0,
            block: None,
            unsent: None,
            peer,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether bytes are to be received now.
    pub(super) fn may_receive(&self) -> bool {
        self.receiving && !self.ended && !self.starved
    }

    /// What the kernel should watch for; `None` for nothing at all. While memory is lent, news of it are waited for
    /// in any case, but each is to be told only once.
    pub(super) fn interest(&self, edge: bool, lent: bool) -> Option<Interest> {
        let news = lent.then_some(Interest { receive: false, send: false, edge: true });
        if self.failed {
            return news;
        }
        let receive = self.kind != Kind::Connecting && self.may_receive();
        let send = self.kind == Kind::Connecting || self.unsent.is_some();
        // A listener is level-triggered always: a burst larger than one turn accepts must be reported again.
        let edge = edge && self.kind != Kind::Listener;
        if receive || send || !self.dead { Some(Interest { receive, send, edge }) } else { news }
    }
}
