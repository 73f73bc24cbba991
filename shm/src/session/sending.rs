//! From a chain, or other bytes, into our ring.

use bytes::Buf;

use super::{Session, SessionError};
use crate::ring::{Kind, PushError};

/// The longest record that is made of a stream's bytes. The peer copies one out while the next is written.
const LONGEST: usize = 8 << 10;
/// A record that takes what little room there is must have at least this many bytes, or be the last.
const SHORTEST: usize = 512;

impl Session {
    /// The longest record that is made of a stream's bytes.
    pub(crate) fn longest(&self) -> usize {
        self.producer.longest().min(LONGEST)
    }

    /// Moves bytes from the front of `from`, a chain or a slice, into the ring, as many as there is room for, and publishes
    /// them. Answers how many that were.
    ///
    /// # Errors
    /// When the session is over.
    #[inline]
    pub fn send(&mut self, from: &mut impl Buf) -> Result<usize, SessionError> {
        if self.peer_is_gone {
            return Err(SessionError::NobodyReads);
        }
        let before = from.remaining();
        while from.has_remaining() && self.stage(from)? {}
        self.publish()?;
        let sent = before - from.remaining();
        self.counters.bytes_sent += sent as u64;
        Ok(sent)
    }

    /// Stages one record. Answers whether there was room.
    #[inline]
    fn stage(&mut self, from: &mut impl Buf) -> Result<bool, SessionError> {
        let mut len = from.remaining().min(self.longest());
        let mut room = loop {
            match self.producer.reserve(len) {
                Ok(room) => break room,
                Err(PushError::Full) if len > SHORTEST => len = (len / 2).max(SHORTEST),
                Err(PushError::Full) => {
                    self.counters.full_waits += 1;
                    return Ok(false);
                }
                Err(PushError::Violation(violation)) => return Err(violation.into()),
                Err(PushError::Ended | PushError::TooLong) => return Err(SessionError::NobodyReads),
            }
        };
        from.copy_to_slice(room.bytes());
        room.commit(Kind::Inline);
        self.counters.records_sent += 1;
        Ok(true)
    }

    /// Ends our direction, behind everything that was sent.
    ///
    /// # Errors
    /// When the session is over.
    pub fn end(&mut self) -> Result<(), SessionError> {
        self.producer.end();
        self.publish()
    }

    /// Whether our direction was ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.producer.is_ended()
    }

    #[inline]
    fn publish(&mut self) -> Result<(), SessionError> {
        if !self.producer.has_staged() {
            return Ok(());
        }
        let doorbell = self.producer.publish();
        if !doorbell.is_due() {
            self.counters.doorbells_suppressed += 1;
        }
        self.ring(doorbell)
    }
}
