//! The end that writes records.

use std::fmt;

use linkpoll::sync::Ordering;

use super::record::{HEADER, Kind, PADDING, encode, size};
use crate::storage::{Index, PeerWord as _, Storage, Word};
use crate::sys::{Site, pass};
use crate::violation::Violation;
use crate::wake::{self, Doorbell, Park};

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room at present; [`park`](Producer::park) waits for it.
    Full,
    /// The record is longer than [`longest`](Producer::longest): it never fits.
    TooLong,
    /// The direction has been ended.
    Ended,
    /// The peer has broken the protocol, now or before.
    Violation(Violation),
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the ring is full"),
            Self::TooLong => f.write_str("the record is longer than records may be"),
            Self::Ended => f.write_str("the direction has been ended"),
            Self::Violation(violation) => violation.fmt(f),
        }
    }
}

impl std::error::Error for PushError {}

impl From<Violation> for PushError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Writes records into our own ring. What is pushed is *staged*: the peer sees it after the next
/// [`publish`](Self::publish), so that many records cost one fence, and at most one doorbell.
///
/// INVARIANT: `head`, `published` and `tail` follow each other, at most the capacity apart; all are multiples of 8.
pub struct Producer<S: Storage> {
    storage: S,
    /// Where the next record begins.
    tail: S::Index,
    /// What the peer has been told.
    published: S::Index,
    /// What the peer had consumed when we last looked.
    head: S::Index,
    capacity: usize,
    is_ended: bool,
    fault: Option<Violation>,
}

/// Room for one record, to be written in place. Dropped without [`commit`](Self::commit), it is as if it had never been.
#[must_use = "a record that is not committed is not sent"]
pub struct Room<'a, S: Storage> {
    producer: &'a mut Producer<S>,
    padding: usize,
    len: usize,
}

impl<S: Storage> Producer<S> {
    /// # Safety
    /// This is the only producer of the session (`Storage::alias`).
    #[expect(unsafe_code, reason = "of a session's producers there must be one")]
    pub(super) unsafe fn new(storage: S, start: S::Index) -> Self {
        let capacity = storage.own_capacity();
        Self { storage, tail: start, published: start, head: start, capacity, is_ended: false, fault: None }
    }

    /// A producer in some state.
    #[cfg(test)]
    #[expect(unsafe_code, reason = "of a session's producers there must be one")]
    pub(super) fn at(storage: S, head: S::Index, published: S::Index, tail: S::Index) -> Self {
        // SAFETY: the tests have one at a time.
        Self { head, published, ..unsafe { Self::new(storage, tail) } }
    }

    /// The longest record in bytes: a quarter of the ring, less its head.
    #[inline]
    #[must_use]
    pub fn longest(&self) -> usize {
        super::most(self.capacity) - HEADER
    }

    /// How many bytes the peer has not consumed, as far as we have seen: records with their heads and padding.
    #[inline]
    #[must_use]
    pub fn used(&self) -> usize {
        self.tail.since(self.head)
    }

    /// Whether records wait for [`publish`](Self::publish).
    #[inline]
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.tail != self.published
    }

    /// How many bytes of the ring wait for [`publish`](Self::publish): records with their heads and padding.
    #[inline]
    #[must_use]
    pub fn staged(&self) -> usize {
        self.tail.since(self.published)
    }

    /// Takes back what was staged, but for the first `keep` bytes of what waits for [`publish`](Self::publish): a value that
    /// [`staged`](Self::staged) had since. The end is not taken back.
    ///
    /// # Panics
    /// When fewer bytes wait.
    pub fn unstage(&mut self, keep: usize) {
        let staged = self.staged();
        assert!(keep <= staged, "{keep} bytes kept of {staged}");
        if !self.is_ended {
            self.tail = self.published.plus(keep);
        }
    }

    /// Whether the peer has consumed everything that was published, as it has said so far. It says so late: when it has
    /// consumed a quarter of the ring, and before it sleeps.
    ///
    /// # Errors
    /// When the peer breaks the protocol.
    pub fn is_drained(&mut self) -> Result<bool, Violation> {
        self.refresh()?;
        Ok(self.head == self.tail)
    }

    /// Stages a record.
    ///
    /// # Errors
    /// When it is not taken; see [`PushError`].
    #[inline]
    pub fn push(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), PushError> {
        let mut room = self.reserve(bytes.len())?;
        room.bytes().copy_from_slice(bytes);
        room.commit(kind);
        Ok(())
    }

    /// Room for a record of at most `len` bytes, to be written where the peer will read it.
    ///
    /// # Errors
    /// When there is none; see [`PushError`].
    #[inline(always)]
    pub fn reserve(&mut self, len: usize) -> Result<Room<'_, S>, PushError> {
        if self.is_ended {
            return Err(PushError::Ended);
        }
        if len > self.longest() {
            return Err(PushError::TooLong);
        }
        let padding = self.padding(size(len));
        if !self.fits(padding + size(len)) {
            self.refresh()?;
            if !self.fits(padding + size(len)) {
                return Err(PushError::Full);
            }
        }
        Ok(Room { producer: self, padding, len })
    }

    /// Stages the end: nothing can be pushed after it. There is always room for it. To end twice is to end once.
    pub fn end(&mut self) {
        if !self.is_ended {
            self.is_ended = true;
            self.stage(0, Kind::End, 0);
        }
    }

    /// Whether [`end`](Self::end) was called.
    #[inline]
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Shows the peer what was staged, and says whether its doorbell must be rung.
    #[inline(always)]
    pub fn publish(&mut self) -> Doorbell {
        if !self.has_staged() {
            return Doorbell::Silent;
        }
        pass(Site::RecordsWritten);
        let old = std::mem::replace(&mut self.published, self.tail);
        wake::publish(&self.storage.own(Word::Tail), old, self.tail, &self.storage.peer(Word::WakeAt))
    }

    /// Publishes what was staged, then asks for a doorbell once half of the ring is free, unless a record of `len` bytes
    /// fits now. `len` is at most [`longest`](Self::longest).
    ///
    /// # Errors
    /// When the peer breaks the protocol.
    pub fn park(&mut self, len: usize) -> Result<Park, Violation> {
        let doorbell = self.publish();
        // One before the head that leaves half of the ring free, which is enough for a record with its padding.
        let before = self.tail.plus((self.capacity / 2 + 1).wrapping_neg());
        wake::announce(&self.storage.own(Word::SpaceAt), before);
        self.refresh()?;
        let need = size(len.min(self.longest()));
        let fits = self.fits(self.padding(need) + need);
        Ok(Park { may_sleep: !fits, doorbell })
    }

    /// The bytes to skip before a record of this size, which must not reach over the end of the ring.
    #[inline(always)]
    fn padding(&self, size: usize) -> usize {
        let to_end = self.capacity - self.position();
        if size > to_end { to_end } else { 0 }
    }

    /// Whether so many bytes are free, with room left for the end.
    #[inline(always)]
    fn fits(&self, size: usize) -> bool {
        self.used() + size + HEADER <= self.capacity
    }

    #[inline(always)]
    fn position(&self) -> usize {
        self.tail.number() & (self.capacity - 1)
    }

    #[inline(always)]
    fn stage(&mut self, padding: usize, kind: Kind, len: usize) {
        if padding > 0 {
            let at = self.position();
            self.storage.put_header(at, encode(PADDING, 0));
            self.tail = self.tail.plus(padding);
        }
        let at = self.position();
        self.storage.put_header(at, encode(kind as u32, len));
        self.tail = self.tail.plus(size(len));
    }

    /// Looks at what the peer has consumed.
    #[inline(never)]
    fn refresh(&mut self) -> Result<(), Violation> {
        if let Some(violation) = self.fault {
            return Err(violation);
        }
        // ORDERING: Acquire, partner the Release in `wake::publish`: the peer has read what we are about to overwrite.
        let head = self.storage.peer(Word::Head).load(Ordering::Acquire);
        if head.since(self.head) > self.published.since(self.head) || !head.number().is_multiple_of(8) {
            self.fault = Some(Violation::Head);
            return Err(Violation::Head);
        }
        self.head = head;
        Ok(())
    }
}

impl<S: Storage> Room<'_, S> {
    /// The bytes to write. They hold old data.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        let at = if self.padding > 0 { 0 } else { self.producer.position() };
        self.producer.storage.ring_mut(at + HEADER, self.len)
    }

    /// Stages the record.
    #[inline]
    pub fn commit(self, kind: Kind) {
        self.producer.stage(self.padding, kind, self.len);
    }

    /// Stages a record of the first `len` bytes only.
    ///
    /// # Panics
    /// When there is room for fewer.
    #[inline]
    pub fn commit_first(self, len: usize, kind: Kind) {
        assert!(len <= self.len, "a record of {len} bytes in room for {}", self.len);
        self.producer.stage(self.padding, kind, len);
    }
}

impl<S: Storage> fmt::Debug for Producer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("head", &self.head)
            .field("published", &self.published)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

impl<S: Storage> fmt::Debug for Room<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("len", &self.len).finish_non_exhaustive()
    }
}
