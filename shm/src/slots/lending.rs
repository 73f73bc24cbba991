//! The release ring: how loans come back.

use std::fmt;

use linkpoll::sync::Ordering;

use super::InFlight;
use crate::ring::{self, Consumer, Producer};
use crate::storage::{Index, PeerWord as _, Storage, Word};
use crate::sys::{Site, pass};
use crate::violation::Violation;
use crate::wake::{self, Doorbell};

/// All ends of one side of a session. Things of type `T` are what is lent: in the shipped code, segments.
#[derive(Debug)]
pub struct Ends<S: Storage, T> {
    /// Writes records.
    pub producer: Producer<S>,
    /// Reads records.
    pub consumer: Consumer<S>,
    /// Lends our memory.
    pub lender: Lender<S, T>,
    /// Gives back the peer's.
    pub borrower: Borrower<S>,
}

/// The ends of this side.
#[expect(unsafe_code, reason = "of a session's borrowers there must be one")]
pub fn ends<S: Storage, T>(storage: S) -> Ends<S, T> {
    // SAFETY: the lender writes nothing but words.
    let lender = Lender::new(unsafe { storage.alias() }, S::Index::ZERO);
    // SAFETY: nobody else writes releases: the storage was the only handle, and the rings' ends do not.
    let borrower = Borrower::new(unsafe { storage.alias() }, S::Index::ZERO);
    let (producer, consumer) = ring::ends(storage);
    Ends { producer, consumer, lender, borrower }
}

/// Lends, and takes back what the peer releases.
pub struct Lender<S: Storage, T> {
    storage: S,
    table: InFlight<T>,
    /// How many releases we have taken in.
    seen: S::Index,
    fault: Option<Violation>,
}

impl<S: Storage, T> Lender<S, T> {
    pub(super) fn new(storage: S, start: S::Index) -> Self {
        let table = InFlight::new(storage.releases());
        Self { storage, table, seen: start, fault: None }
    }

    /// Keeps `thing` until the peer releases the ticket that is answered.
    ///
    /// # Errors
    /// Gives the thing back when as much is lent as can be; [`collect`](Self::collect) may help.
    pub fn lend(&mut self, thing: T) -> Result<u32, T> {
        self.table.lend(thing)
    }

    /// Whether as much is lent as can be.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// How many loans are out.
    #[inline]
    #[must_use]
    pub fn lent(&self) -> usize {
        self.table.len()
    }

    /// All that is lent.
    #[cfg(test)]
    pub(crate) fn things(&self) -> impl Iterator<Item = &T> {
        self.table.things()
    }

    /// Takes in what the peer has released, and hands each thing to `back`. Answers how many there were.
    ///
    /// # Errors
    /// When the peer has broken the protocol, now or before. What was handed over before the bad release stays so.
    pub fn collect(&mut self, mut back: impl FnMut(T)) -> Result<usize, Violation> {
        if let Some(violation) = self.fault {
            return Err(violation);
        }
        if self.table.is_empty() {
            // Nothing can come back, so there is no need to look at the peer's memory.
            return Ok(0);
        }
        let count = self.waiting()?;
        for _ in 0..count {
            let at = self.seen.number() & (self.storage.releases() - 1);
            let thing = self.table.give_back(self.storage.release(at)).map_err(|v| self.latch(v))?;
            self.seen = self.seen.plus(1);
            back(thing);
        }
        Ok(count)
    }

    /// Asks for a doorbell at the next release. Answers whether none has come yet, so that the caller may sleep.
    ///
    /// # Errors
    /// When the peer has broken the protocol, now or before.
    pub fn park(&mut self) -> Result<bool, Violation> {
        wake::announce(&self.storage.own(Word::ReleaseAt), self.seen);
        Ok(self.waiting()? == 0)
    }

    /// How many releases are there that we have not taken in: at most as many as there are loans.
    fn waiting(&mut self) -> Result<usize, Violation> {
        if let Some(violation) = self.fault {
            return Err(violation);
        }
        // ORDERING: Acquire, partner the Release in `wake::publish`: the tickets were written before, and what they stand
        // for was read.
        let released = self.storage.peer(Word::Released).load(Ordering::Acquire);
        let count = released.since(self.seen);
        if count > self.table.len() { Err(self.latch(Violation::Released)) } else { Ok(count) }
    }

    #[cold]
    fn latch(&mut self, violation: Violation) -> Violation {
        self.fault = Some(violation);
        violation
    }
}

/// Releases what the peer has lent.
pub struct Borrower<S: Storage> {
    storage: S,
    released: S::Index,
    published: S::Index,
}

impl<S: Storage> Borrower<S> {
    pub(super) fn new(storage: S, start: S::Index) -> Self {
        Self { storage, released: start, published: start }
    }

    /// Stages the release of a ticket: its bytes have been read for the last time. The peer sees it after the next
    /// [`publish`](Self::publish).
    ///
    /// A peer that lends more than the release ring holds overwrites nothing but its own releases.
    pub fn release(&mut self, ticket: u32) {
        let at = self.released.number() & (self.storage.releases() - 1);
        self.storage.put_release(at, ticket);
        self.released = self.released.plus(1);
    }

    /// Shows the peer what was released, and says whether its doorbell must be rung.
    pub fn publish(&mut self) -> Doorbell {
        if self.released == self.published {
            return Doorbell::Silent;
        }
        pass(Site::TicketsWritten);
        let old = std::mem::replace(&mut self.published, self.released);
        let (own, peer) = (self.storage.own(Word::Released), self.storage.peer(Word::ReleaseAt));
        wake::publish(&own, old, self.released, &peer)
    }
}

impl<S: Storage, T> fmt::Debug for Lender<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").field("table", &self.table).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<S: Storage> fmt::Debug for Borrower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrower").field("released", &self.released).finish_non_exhaustive()
    }
}
