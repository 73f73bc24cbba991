//! One connection between two processes: two rings, a socket, and nothing that sleeps.
//!
//! A session is used by one thread at a time. It never blocks: who wants to sleep asks [`park`](Session::park) first, and
//! sleeps until one of the session's descriptors is ready ([`watched`](Session::watched)). The driver does that in its loop,
//! a channel on its own thread.
//!
//! ```text
//!   stage      chain --> our ring, or our arena           sending.rs, lending.rs
//!   publish    what was staged becomes visible; a doorbell if the peer sleeps
//!   receive    the peer's ring and arenas --> a block of ours     receiving.rs, borrowing.rs
//!   listen     the session's socket: doorbells, arenas, sealed memory, the end     control.rs
//!   park       may we sleep?
//! ```
//!
//! # Large bytes
//!
//! There is one ordered path, the ring. What is large is lent: the ring has a record that says where the bytes lie in the
//! sender's arena. Bytes that were written there ([`allocate`](Session::allocate)) are lent where they are; other bytes are
//! copied there, if many lie in one piece; and where there is no arena, or none of it is free, they go through the ring
//! themselves. Nothing waits for memory to come back, unless the ring is full, too.
//!
//! # The end
//!
//! * A direction ends with a record, behind all bytes. A peer that is gone without it has died, or wants to seem so:
//!   [`SessionError::PeerGone`], after everything that it had published was received.
//! * The socket tells of the peer's death; what the peer had published before stays readable, because the memory does.
//! * **The latch.** The first violation ends the session: the peer is told once, and its words are not looked at again.

mod borrowing;
mod control;
mod counters;
mod error;
mod latch;
mod lending;
mod messages;
mod receiving;
mod references;
mod sending;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::bulk::Arrivals;
use crate::handshake::{Agreed, Bells, Established};
use crate::region::{OwnRegion, PeerRegion};
use crate::ring::{Consumer, Producer};
use crate::slots::{self, Borrower, Ends};
use crate::storage::Mapped;
use crate::sys::{Site, pass};
use crate::wake::Doorbell;
use crate::wire::{Control, Credentials, Frame, Role};
use borrowing::{Borrowing, Unread};
pub use control::Heard;
pub use counters::Counters;
pub use error::SessionError;
use lending::Lending;
pub(crate) use messages::{MessageRoom, Part};
use receiving::Pending;
pub use receiving::{Received, Room};

/// Our region and the peer's. Dropped, they are unmapped.
type Memory = (OwnRegion, PeerRegion);

/// A connection between two processes; see the [module's documentation](self).
#[derive(Debug)]
pub struct Session {
    role: Role,
    control: Control,
    bells: Option<Bells>,
    producer: Producer<Mapped<Memory>>,
    consumer: Consumer<Mapped<Memory>>,
    lending: Lending,
    borrower: Borrower<Mapped<Memory>>,
    borrowing: Borrowing,
    /// A loan of which not all bytes had room.
    loan: Option<Unread>,
    arrivals: Arrivals,
    pending: Option<Pending>,
    agreed: Agreed,
    credentials: Credentials,
    counters: Counters,
    /// The peer's socket is closed. What it has published is still there.
    peer_is_gone: bool,
    /// The server wants the session to end soon.
    is_leaving: bool,
    /// Why the session is over.
    over: Option<Box<SessionError>>,
    process: u32,
}

/// Whether there is something to do before sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// There is: news that came meanwhile.
    NotYet,
    /// The session's descriptors become ready when there are news.
    Sleeping,
}

impl Session {
    /// A session out of a completed handshake.
    ///
    /// # Errors
    /// [`SessionError::Forked`] when the handshake was a parent's (fork(2)). `InvalidInput` when the rings do not fit into
    /// their regions, which the handshake has ruled out.
    pub fn new(established: Established) -> io::Result<Self> {
        let Established { role, control, own, peer, bells, agreed, lend, credentials } = established;
        if !own.is_ours() {
            return Err(SessionError::Forked.into());
        }
        let storage = Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let Ends { producer, consumer, lender, borrower } = slots::ends(storage);
        Ok(Self {
            role,
            control,
            bells,
            producer,
            consumer,
            lending: Lending::new(lender, agreed.peer.arena.min(lend)),
            borrower,
            borrowing: Borrowing::new(agreed.own.arena),
            loan: None,
            arrivals: Arrivals::new(agreed.own.bulk),
            pending: None,
            agreed,
            credentials,
            counters: Counters::default(),
            peer_is_gone: false,
            is_leaving: false,
            over: None,
            process: std::process::id(),
        })
    }

    /// What both sides have agreed upon.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Who the peer was when it opened the connection (`SO_PEERCRED`, unix(7)).
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the server has asked for the session to end soon.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Whether the server has, and we are the client, who is to act on it.
    pub(crate) fn is_left(&self) -> bool {
        self.is_leaving && self.role == Role::Client
    }

    /// Asks the client to end the session soon, as the server's side of it. Answers whether it is asked: a client has
    /// nothing to ask of its server, and who is gone is not asked.
    ///
    /// # Errors
    /// When the session is over.
    pub fn leave(&mut self) -> Result<bool, SessionError> {
        self.live()?;
        if self.role == Role::Client || self.peer_is_gone {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.is_leaving, true) {
            let said = self.say(Frame::GoAway);
            self.latch(said)?;
        }
        Ok(true)
    }

    /// What to watch while sleeping: the socket, level- or edge-triggered for reading, and an eventfd, edge-triggered,
    /// which is never read.
    #[must_use]
    pub fn watched(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.control.as_fd(), self.bells.as_ref().map(|bells| bells.own.as_fd()))
    }

    /// Whether frames wait until the socket can be written.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.control.wants_to_send()
    }

    /// Says that this process is not the one that made the session: memory is not inherited (`MADV_DONTFORK`).
    ///
    /// # Errors
    /// [`SessionError::Forked`] then. To be called where a session comes from elsewhere, before its memory is touched.
    pub fn check_process(&self) -> Result<(), SessionError> {
        if self.process == std::process::id() { Ok(()) } else { Err(SessionError::Forked) }
    }

    /// Rings the peer's doorbell if it is due.
    #[inline]
    fn ring(&mut self, doorbell: Doorbell) -> Result<(), SessionError> {
        pass(Site::DoorbellDecided);
        if doorbell.is_due() { self.ring_now() } else { Ok(()) }
    }

    fn ring_now(&mut self) -> Result<(), SessionError> {
        if self.peer_is_gone {
            return Ok(());
        }
        self.counters.doorbells_sent += 1;
        let rung = match &self.bells {
            Some(bells) => bells.peer.ring().map_err(|error| SessionError::Control(error.into())),
            None => self.control.ring().map_err(SessionError::Control),
        };
        match rung {
            // The socket says in its own way, when it is read, that the peer is gone; until then there are its last bytes.
            Err(error) if control::is_gone(error.kind()) => Ok(()),
            rung => rung,
        }
    }

    /// Asks for a doorbell when bytes arrive (`receive`), and when there is room for more (`send`), unless there is
    /// something to do at once. To be called before sleeping.
    ///
    /// # Errors
    /// When the session is over.
    pub fn park(&mut self, receive: bool, send: Option<usize>) -> Result<Parked, SessionError> {
        self.live()?;
        let parked = self.lie_down(receive, send);
        self.latch(parked)
    }

    fn lie_down(&mut self, receive: bool, send: Option<usize>) -> Result<Parked, SessionError> {
        let must_receive = self.pending.is_some() || self.loan.is_some() || self.peer_is_gone;
        let mut may_sleep = !receive || !must_receive;
        let doorbell = self.borrower.publish();
        self.ring(doorbell)?;
        if receive && !self.consumer.is_ended() {
            let park = self.consumer.park()?;
            self.ring(park.doorbell)?;
            may_sleep &= park.may_sleep;
        } else {
            let doorbell = self.consumer.publish();
            self.ring(doorbell)?;
        }
        if let Some(bytes) = send {
            // A peer that is gone makes no room, and nobody tells of it again.
            may_sleep &= !self.peer_is_gone;
            let park = self.producer.park(bytes.min(self.longest()))?;
            self.ring(park.doorbell)?;
            may_sleep &= park.may_sleep;
        }
        Ok(if may_sleep { Parked::Sleeping } else { Parked::NotYet })
    }

    /// As [`park`](Self::park), for memory that is lent by reference: asks for a doorbell at the next release, unless one
    /// is there. To be called before it, by those who wait for [`settled`](Self::settled).
    ///
    /// # Errors
    /// When the session is over.
    pub fn park_for_releases(&mut self) -> Result<Parked, SessionError> {
        self.live()?;
        let parked = if self.lending.out() == 0 { Ok(true) } else { self.lending.park() };
        let waits = self.latch(parked.map_err(SessionError::from))?;
        Ok(if waits { Parked::Sleeping } else { Parked::NotYet })
    }

    /// Takes back what the peer has released. Costs nothing while nothing is lent, else one load of a word that the peer
    /// writes.
    ///
    /// # Errors
    /// When the session is over.
    #[inline]
    pub fn collect(&mut self) -> Result<(), SessionError> {
        if self.lending.out() > 0 {
            self.live()?;
            let back = self.lending.collect().map_err(SessionError::from);
            let back = self.latch(back)?;
            self.counters.loans_returned += back as u64;
        }
        Ok(())
    }

    /// How many loans by reference were given.
    #[must_use]
    pub fn referred(&self) -> u64 {
        self.lending.references().given()
    }

    /// So many loans by reference, the first ones, are back, as far as was [collected](Self::collect).
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.lending.references().settled()
    }

    /// Tells the peer why the session ends, as far as that is possible without waiting.
    pub fn refuse(&mut self, error: &SessionError) {
        if let Some(refusal) = error.refusal() {
            self.control.refuse(refusal);
        }
    }
}
