//! The end that reads records.

use std::fmt;
use std::io;

use linkpoll::sync::Ordering;

use super::record::{HEADER, Head, Kind, decode};
use crate::storage::{Index, PeerWord as _, Storage, Word};
use crate::violation::Violation;
use crate::wake::{self, Doorbell, Park};

/// The most bytes that are fetched ahead of reading them.
const ANTICIPATED: usize = 2048;

/// Reads records out of the peer's ring, in which anything may stand.
///
/// INVARIANT: `published`, `head` and `seen` follow each other, at most the capacity apart; all are multiples of 8.
pub struct Consumer<S: Storage> {
    storage: S,
    /// What we have consumed.
    head: S::Index,
    /// What the peer has been told of that.
    published: S::Index,
    /// What the peer had published when we last looked.
    seen: S::Index,
    capacity: usize,
    is_ended: bool,
    fault: Option<Violation>,
}

/// A record in the peer's ring. Its bytes stay there, and stay the peer's: they are copied out.
pub struct Record<'a, S: Storage> {
    storage: &'a S,
    kind: Kind,
    at: usize,
    len: usize,
}

impl<S: Storage> Consumer<S> {
    pub(super) fn new(storage: S, start: S::Index) -> Self {
        let capacity = storage.peer_capacity();
        Self { storage, head: start, published: start, seen: start, capacity, is_ended: false, fault: None }
    }

    /// A consumer in some state.
    #[cfg(test)]
    pub(super) fn at(storage: S, published: S::Index, head: S::Index, seen: S::Index) -> Self {
        Self { published, seen, ..Self::new(storage, head) }
    }

    /// The longest record in bytes.
    #[inline]
    #[must_use]
    pub fn longest(&self) -> usize {
        super::most(self.capacity) - HEADER
    }

    /// Looks at what the peer has published. Answers how many bytes of the ring wait to be consumed: records with their
    /// heads and padding.
    ///
    /// # Errors
    /// When the peer has broken the protocol, now or before.
    #[inline(always)]
    pub fn poll(&mut self) -> Result<usize, Violation> {
        if let Some(violation) = self.fault {
            return Err(violation);
        }
        // ORDERING: Acquire, partner the Release in `wake::publish`: the records were written before.
        let tail = self.storage.peer(Word::Tail).load(Ordering::Acquire);
        if tail == self.seen {
            return Ok(self.seen.since(self.head));
        }
        // It may have grown as far as what we have published leaves room for. Having gone back, it has grown by more.
        let room = self.capacity - self.seen.since(self.published);
        if tail.since(self.seen) > room || !tail.number().is_multiple_of(8) {
            return Err(self.latch(Violation::Tail));
        }
        // All of the record's lines at once: otherwise the first has to come before the others are asked for.
        let at = self.seen.number() & (self.capacity - 1);
        self.storage.anticipate(at, tail.since(self.seen).min(ANTICIPATED));
        self.seen = tail;
        Ok(tail.since(self.head))
    }

    /// Whether the next [`pop`](Self::pop) has something to look at. Looks at what the peer has published only when all that
    /// was seen is consumed.
    ///
    /// # Errors
    /// When the peer has broken the protocol, now or before.
    #[inline]
    pub fn is_ready(&mut self) -> Result<bool, Violation> {
        Ok(self.head != self.seen || self.poll()? > 0)
    }

    /// The next record; looks at what the peer has published only when all that was seen is consumed. The record counts
    /// as consumed from then on, but the peer hears of it only after the record is dropped.
    ///
    /// After the record that ends the direction there is none.
    ///
    /// # Errors
    /// When the peer has broken the protocol, now or before.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<Record<'_, S>>, Violation> {
        if self.head == self.seen && self.poll()? == 0 {
            return Ok(None);
        }
        self.consume()
    }

    /// Consumes a record; something is known to be there. At most two heads are looked at: padding leads to the
    /// beginning of the ring, where there is none.
    #[inline(always)]
    fn consume(&mut self) -> Result<Option<Record<'_, S>>, Violation> {
        if let Some(violation) = self.fault {
            return Err(violation);
        }
        if self.is_ended {
            return Err(self.latch(Violation::AfterEnd));
        }
        loop {
            let available = self.seen.since(self.head);
            if available == 0 {
                return Ok(None);
            }
            let at = self.head.number() & (self.capacity - 1);
            let header = self.storage.header(at);
            let (head, size) = decode(header, available, self.capacity - at, super::most(self.capacity))
                .map_err(|violation| self.latch(violation))?;
            self.head = self.head.plus(size);
            if let Head::Record { kind, len } = head {
                self.is_ended = kind == Kind::End;
                return Ok(Some(Record { storage: &self.storage, kind, at: at + HEADER, len }));
            }
        }
    }

    /// Whether the record that ends the direction was read.
    #[inline]
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Tells the peer what was consumed, if that is a quarter of the ring, and says whether its doorbell must be rung.
    /// For the end of each batch: a head that is published for each small record would cost a cache line each.
    #[inline(always)]
    pub fn settle(&mut self) -> Doorbell {
        let late = self.head.since(self.published) >= super::most(self.capacity);
        if late { self.publish() } else { Doorbell::Silent }
    }

    /// Tells the peer all that was consumed, and says whether its doorbell must be rung.
    pub fn publish(&mut self) -> Doorbell {
        if self.head == self.published {
            return Doorbell::Silent;
        }
        let old = std::mem::replace(&mut self.published, self.head);
        wake::publish(&self.storage.own(Word::Head), old, self.head, &self.storage.peer(Word::SpaceAt))
    }

    /// Publishes what was consumed, then asks for a doorbell at the next record, unless one is there.
    ///
    /// # Errors
    /// When the peer has broken the protocol, now or before.
    pub fn park(&mut self) -> Result<Park, Violation> {
        let doorbell = self.publish();
        wake::announce(&self.storage.own(Word::WakeAt), self.head);
        let available = self.poll()?;
        Ok(Park { may_sleep: available == 0, doorbell })
    }

    /// Ends the consumer: what a record says is impossible, which somebody else has found.
    #[cold]
    pub(crate) fn condemn(&mut self, violation: Violation) -> Violation {
        self.latch(violation)
    }

    #[cold]
    fn latch(&mut self, violation: Violation) -> Violation {
        self.fault = Some(violation);
        violation
    }
}

impl<S: Storage> Record<'_, S> {
    /// What the record is.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of its bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes from `from` on. A peer that changes them meanwhile decides what is copied, and nothing else;
    /// what was copied it cannot change. To copy a byte twice may yield two values.
    ///
    /// # Panics
    /// When the record has fewer bytes.
    #[inline]
    pub fn copy_to(&self, from: usize, into: &mut [u8]) {
        let fits = from <= self.len && into.len() <= self.len - from;
        assert!(fits, "{} bytes from {from} on, of a record of {}", into.len(), self.len);
        self.storage.copy_out(self.at + from, into);
    }

    /// Reads the bytes one after the other, each once.
    #[must_use]
    pub fn reader(&self) -> Reader<'_, S> {
        Reader { record: self, at: 0 }
    }
}

/// A record's bytes, read from first to last.
pub struct Reader<'a, S: Storage> {
    record: &'a Record<'a, S>,
    at: usize,
}

impl<S: Storage> io::Read for Reader<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = into.len().min(self.record.len - self.at);
        self.record.copy_to(self.at, &mut into[..n]);
        self.at += n;
        Ok(n)
    }
}

impl<S: Storage> fmt::Debug for Consumer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("published", &self.published)
            .field("head", &self.head)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl<S: Storage> fmt::Debug for Record<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("kind", &self.kind).field("len", &self.len).finish_non_exhaustive()
    }
}

impl<S: Storage> fmt::Debug for Reader<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("at", &self.at).finish_non_exhaustive()
    }
}
