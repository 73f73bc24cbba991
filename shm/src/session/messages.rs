//! Messages, for sessions that keep them apart: each is one record, or several of which all but the last are parts.

use super::{Memory, Parked, Session, SessionError};
use crate::ring::{Kind, PushError, Record, Room};
use crate::storage::Mapped;

/// A record of a message, in the peer's memory.
pub(crate) type Part<'a> = Record<'a, Mapped<Memory>>;

/// Room for a message, in our memory.
#[derive(Debug)]
pub(crate) struct MessageRoom<'a> {
    room: Room<'a, Mapped<Memory>>,
    records: &'a mut u64,
    bytes: &'a mut u64,
}

impl MessageRoom<'_> {
    /// The bytes to write. They hold old data.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.room.bytes()
    }

    /// Stages the first `len` bytes.
    ///
    /// # Panics
    /// When there is room for fewer.
    #[inline(always)]
    pub(crate) fn stage(self, kind: Kind, len: usize) {
        self.room.commit_first(len, kind);
        *self.records += 1;
        *self.bytes += len as u64;
    }
}

impl Session {
    /// The longest message that is one record.
    #[inline]
    pub(crate) fn longest_record(&self) -> usize {
        self.producer.longest()
    }

    /// Room for a record; `None` when the ring is full. `len` is at most [`longest_record`](Self::longest_record).
    #[inline(always)]
    pub(crate) fn room(&mut self, len: usize) -> Result<Option<MessageRoom<'_>>, SessionError> {
        if self.peer_is_gone {
            return Err(SessionError::NobodyReads);
        }
        let (records, bytes) = (&mut self.counters.records_sent, &mut self.counters.bytes_sent);
        match self.producer.reserve(len) {
            Ok(room) => Ok(Some(MessageRoom { room, records, bytes })),
            Err(PushError::Full) => Ok(None),
            Err(PushError::Violation(violation)) => Err(violation.into()),
            Err(PushError::Ended | PushError::TooLong) => Err(SessionError::NobodyReads),
        }
    }

    /// How many bytes of the ring wait to be published.
    #[inline(always)]
    pub(crate) fn staged(&self) -> usize {
        self.producer.staged()
    }

    /// Takes back what was staged since [`staged`](Self::staged) was `keep`.
    pub(crate) fn unstage(&mut self, keep: usize) {
        self.producer.unstage(keep);
    }

    /// A send has to wait for room.
    pub(crate) fn count_full_wait(&mut self) {
        self.counters.full_waits += 1;
    }

    /// Whether a record is there. Costs a load of a word that the peer writes, or less.
    #[inline(always)]
    pub(crate) fn is_ready(&mut self) -> Result<bool, SessionError> {
        Ok(self.consumer.is_ready()?)
    }

    /// The next record. It is consumed, which the peer hears after it is dropped: by [`settle`](Self::settle), or before
    /// this side sleeps.
    #[inline(always)]
    pub(crate) fn next_record(&mut self) -> Result<Option<Part<'_>>, SessionError> {
        let record = self.consumer.pop()?;
        if let Some(record) = &record {
            self.counters.records_received += 1;
            self.counters.bytes_received += record.len() as u64;
        }
        Ok(record)
    }

    /// Tells the peer what was consumed, if that is much. For after each record.
    #[inline(always)]
    pub(crate) fn settle(&mut self) -> Result<(), SessionError> {
        let doorbell = self.consumer.settle();
        self.ring(doorbell)
    }

    /// Whether the peer has ended its direction, and everything before was received.
    #[inline]
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.consumer.is_ended()
    }

    /// As [`park`](Self::park), before sleeping until there is room for a record of `len` bytes.
    pub(crate) fn park_for_room(&mut self, len: usize) -> Result<Parked, SessionError> {
        let doorbell = self.consumer.publish();
        self.ring(doorbell)?;
        let park = self.producer.park(len)?;
        self.ring(park.doorbell)?;
        Ok(if park.may_sleep { Parked::Sleeping } else { Parked::NotYet })
    }
}
