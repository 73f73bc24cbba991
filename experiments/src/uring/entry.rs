//! What the driver knows of one connection or listener.
//!
//! # Two operations
//!
//! An entry has at most one *incoming* operation under way, and at most one *outgoing* one.
//!
//! ```text
//!   incoming                                        outgoing
//!     Idle --- queued --> Armed(what)                 Idle --- queued --> UnderWay
//!      ^                    |   | cancel queued        ^                    |
//!      |  last completion   |   v                      |  last completion   |
//!      +--------------------+-- Cancelling             +--------------------+
//! ```
//!
//! What *should* be under way follows from the state ([`Entry::incoming_wanted`]); before each wait the entries whose
//! state has changed are brought in line. Only a last completion leads back to `Idle`, never the fact that a
//! cancellation was asked for: until then the kernel may still act, and what it has done is in the completions.
//!
//! # Its end
//!
//! ```text
//!   in use --- close, detach ---> ending ---- both operations Idle: descriptor closed, `Closed` told ----> gone
//!                                    |                                                                      ^
//!                                    +--- loans outstanding: the entry stays until they are given back -----+
//! ```

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use linkpoll::buffer::{Chain, Segment, Tail};
use linkpoll::driver::{Key, Token};
use linkpoll::net::Address;

use super::tag::Id;

/// What an entry's descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    /// A connection whose establishment is under way.
    Connecting,
    Connection,
}

/// An incoming operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Accept,
    Room,
    Receive,
    /// One receive into the block of a large message.
    Fill,
    HangUp,
}

/// Where the incoming operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Idle,
    Armed(What),
    Cancelling(What),
}

/// Where the outgoing operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Idle,
    /// Waits on the list for the next submission.
    Listed,
    UnderWay,
    Cancelling,
}

/// What has arrived and may not be told now.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) segments: VecDeque<Segment>,
    pub(super) end: Option<End>,
}

/// How receiving has ended.
#[derive(Debug)]
pub(super) enum End {
    Eof,
    Broken(std::io::Error),
}

/// Who waits for memory, and what of it is lent.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Tokens, and the count of sent bytes at which each is due.
    pub(super) tokens: VecDeque<(u64, Token)>,
    /// Loans outstanding, each with the count of sent bytes at which it began.
    pub(super) loans: VecDeque<(u64, Id)>,
    /// The loan whose result has not come: the send under way.
    pub(super) under_way: Option<Id>,
    /// The end of the last range that was really lent.
    pub(super) lent_until: u64,
    /// The count at which the last released token was due.
    pub(super) released: u64,
}

/// The state of one descriptor. An idle connection has no heap memory here but its peer's address.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// `None` once it is closed, or detached.
    pub(super) fd: Option<OwnedFd>,
    pub(super) kind: Kind,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// The caller wants to receive.
    pub(super) receiving: bool,
    /// Receiving has ended for good: end of stream, or an error.
    pub(super) ended: bool,
    /// The peer's hang-up was noticed, and means nothing.
    pub(super) hung_up: bool,
    /// Receiving rests because the kernel has no buffer.
    pub(super) starved: bool,
    /// Something was received since receiving was armed.
    pub(super) fed: bool,
    /// An error was told: there is no traffic any more.
    pub(super) failed: bool,
    /// The sending direction is to be ended when nothing is left to send.
    pub(super) shutdown: bool,
    /// The sending direction has been ended.
    pub(super) send_ended: bool,
    /// The caller has closed or detached it.
    pub(super) ending: bool,
    /// Of these two, detached: what it has received goes with it.
    pub(super) detaching: bool,
    /// `Closed` was told.
    pub(super) told: bool,
    /// On the list of those to be brought in line.
    pub(super) stale: bool,
    /// Sends may lend their memory.
    pub(super) may_lend: bool,
    /// Loans in a row that were copied after all, and sends that were not tried as loans for that reason.
    pub(super) copied: u16,
    /// Bytes sent so far.
    pub(super) sent: u64,
    /// Bytes to be sent. While a send is under way the kernel reads from here, and nothing is added.
    pub(super) out: Chain,
    /// What was given meanwhile.
    pub(super) behind: Option<Box<Chain>>,
    pub(super) ledger: Option<Box<Ledger>>,
    pub(super) early: Option<Box<Early>>,
    /// Bytes that the next message still needs, and the block they are put into. While a fill is under way the kernel
    /// writes to the block, which must not be touched.
    pub(super) wanted: usize,
    pub(super) block: Option<Box<Tail>>,
    /// The block is received into directly.
    pub(super) fills: bool,
    /// So many receives are to bring one buffer and no more: messages were large lately, and the rest of the next one
    /// shall find its block.
    pub(super) careful: u8,
    pub(super) peer: Option<Box<Address>>,
}

impl Entry {
    pub(super) fn new(key: Key, fd: OwnedFd, kind: Kind, peer: Option<Box<Address>>) -> Self {
        Self {
            key,
            fd: Some(fd),
            kind,
            incoming: Incoming::Idle,
            outgoing: Outgoing::Idle,
            receiving: true,
            ended: false,
            hung_up: false,
            starved: false,
            fed: false,
            failed: false,
            shutdown: false,
            send_ended: false,
            ending: false,
            detaching: false,
            told: false,
            stale: false,
            may_lend: matches!(peer.as_deref(), Some(Address::Tcp(_))),
            copied: 0,
            sent: 0,
            out: Chain::new(),
            behind: None,
            ledger: None,
            early: None,
            wanted: 0,
            block: None,
            fills: false,
            careful: 0,
            peer,
        }
    }

    /// Which incoming operation should be under way.
    pub(super) fn incoming_wanted(&self) -> Option<What> {
        if self.ending || self.failed {
            return None;
        }
        match self.kind {
            Kind::Listener => self.receiving.then_some(What::Accept),
            Kind::Connecting => Some(What::Room),
            // This needs no buffer.
            Kind::Connection if self.fills && !self.ended && self.block.is_some() => {
                self.receiving.then_some(What::Fill)
            }
            // Nobody reads any more, or not before memory is there: a peer that goes is noticed by its hang-up.
            Kind::Connection if self.ended || self.starved => {
                (!self.hung_up && !self.send_ended).then_some(What::HangUp)
            }
            Kind::Connection => self.receiving.then_some(What::Receive),
        }
    }

    /// Whether the kernel may still touch descriptor or memory, loans aside.
    pub(super) fn is_busy(&self) -> bool {
        self.incoming != Incoming::Idle || matches!(self.outgoing, Outgoing::UnderWay | Outgoing::Cancelling)
    }

    /// Lets go of the block of a large message, unless the kernel writes to it: then its last completion does.
    pub(super) fn drop_block(&mut self) {
        self.fills = false;
        if !matches!(self.incoming, Incoming::Armed(What::Fill) | Incoming::Cancelling(What::Fill)) {
            self.block = None;
        }
    }

    pub(super) fn has_loans(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| !ledger.loans.is_empty())
    }

    /// Whether what was received is to be told now.
    pub(super) fn tells(&self) -> bool {
        self.receiving && !self.failed && !self.ending
    }

    /// The count of sent bytes at which everything given so far is sent.
    pub(super) fn given(&self) -> u64 {
        let behind = self.behind.as_ref().map_or(0, |behind| behind.len());
        self.sent + (self.out.len() + behind) as u64
    }
}
