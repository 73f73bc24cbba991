//! From a chain, or other bytes, into our ring and our arena.

use bytes::Buf;
use linkpoll::buffer::{Chain, Segment, Tail};

use super::{Memory, Session, SessionError};
use crate::ring::{Kind, PushError, Room};
use crate::slots::{Loan, Placed};
use crate::storage::Mapped;
use crate::sys::{Site, pass};

/// The longest record that is made of a stream's bytes. The peer copies one out while the next is written.
const LONGEST: usize = 8 << 10;
/// A record that takes what little room there is must have at least this many bytes, or be the last.
const SHORTEST: usize = 512;
/// A piece of our arena with so many bytes is lent where it is. With fewer, a copy costs less than a loan.
const REFER_FROM: usize = 2 << 10;
/// So many bytes that lie in one piece elsewhere are copied into the arena, and not into the ring.
const COPY_FROM: usize = 6 << 10;
/// How many are copied at a time: the peer copies one piece out while the next is written.
const PIECE: usize = 64 << 10;

impl Session {
    /// The longest record that is made of a stream's bytes.
    pub(crate) fn longest(&self) -> usize {
        self.producer.longest().min(LONGEST)
    }

    /// Moves bytes from the front of `from`, a chain or a slice, to the peer, as many as there is room for, and publishes
    /// them. Answers how many that were. Large pieces are copied into our arena and lent, if it has room; all others go
    /// through the ring.
    ///
    /// # Errors
    /// When the session is over.
    #[inline]
    pub fn send(&mut self, from: &mut impl Buf) -> Result<usize, SessionError> {
        if from.remaining() < COPY_FROM {
            return self.send_with(from, |session, from| session.stage(from, usize::MAX));
        }
        self.send_with(from, |session, from| {
            let piece = from.chunk().len();
            match session.stage_copy(from, piece)? {
                Some(staged) => Ok(staged),
                None => session.stage(from, usize::MAX),
            }
        })
    }

    /// As [`send`](Self::send). What lies in our arena is lent where it is; it keeps its memory until the peer has read it;
    /// see [`settled`](Self::settled).
    ///
    /// # Errors
    /// When the session is over.
    #[inline]
    pub fn send_chain(&mut self, chain: &mut Chain) -> Result<usize, SessionError> {
        if chain.len() < REFER_FROM {
            return self.send_with(chain, |session, chain| session.stage(chain, usize::MAX));
        }
        self.collect()?;
        self.send_with(chain, Self::stage_front)
    }

    #[inline]
    fn send_with<B: Buf>(
        &mut self,
        from: &mut B,
        mut stage: impl FnMut(&mut Self, &mut B) -> Result<bool, SessionError>,
    ) -> Result<usize, SessionError> {
        self.live()?;
        if self.peer_is_gone {
            return Err(SessionError::NobodyReads);
        }
        let before = from.remaining();
        let staged = self.stage_all(from, &mut stage);
        self.latch(staged)?;
        let sent = before - from.remaining();
        self.counters.bytes_sent += sent as u64;
        Ok(sent)
    }

    #[inline]
    fn stage_all<B: Buf>(
        &mut self,
        from: &mut B,
        mut stage: impl FnMut(&mut Self, &mut B) -> Result<bool, SessionError>,
    ) -> Result<(), SessionError> {
        while from.has_remaining() && stage(self, from)? {}
        self.publish()
    }

    /// Memory for `len` bytes to be sent on this session, which are lent where they are; none when there is none at present.
    /// It holds old bytes of the session's, and the peer may see all of it at any time.
    ///
    /// # Errors
    /// When the session is over.
    pub fn allocate(&mut self, len: usize) -> Result<Option<Tail>, SessionError> {
        self.live()?;
        self.collect()?;
        let tail = self.lending.allocate(len);
        if tail.is_none() || self.lending.is_small_for(len) {
            let grown = self.grow();
            self.latch(grown)?;
        }
        Ok(tail)
    }

    /// Shows the peer one more chunk of memory, if it may have one. Nobody waits for it.
    fn grow(&mut self) -> Result<(), SessionError> {
        if self.peer_is_gone {
            return Ok(());
        }
        match self.lending.offer() {
            Some(frame) => self.say(frame),
            None => Ok(()),
        }
    }

    /// Stages what is at the front of a chain. Answers whether there was room.
    fn stage_front(&mut self, chain: &mut Chain) -> Result<bool, SessionError> {
        let Some(front) = chain.segments().next() else { return Ok(false) };
        let len = front.len();
        if self.lending.has_ticket()
            && let Some(placed) = self.to_refer(front)
        {
            return self.refer(chain, placed);
        }
        if let Some(staged) = self.stage_copy(chain, len)? {
            return Ok(staged);
        }
        let most = self.longest();
        let mut run = len;
        for segment in chain.segments().skip(1) {
            if run >= most || segment.len() >= COPY_FROM || self.to_refer(segment).is_some() {
                break;
            }
            run += segment.len();
        }
        self.stage(chain, run)
    }

    /// Copies bytes from the front of `from`, of which `piece` lie together, into our arena, and lends them. Answers whether
    /// the ring had room; `None` when they are too few, or the arena has no room for them.
    fn stage_copy(&mut self, from: &mut impl Buf, piece: usize) -> Result<Option<bool>, SessionError> {
        let len = piece.min(PIECE);
        if len < COPY_FROM {
            return Ok(None);
        }
        let odd = piece % PIECE;
        if piece > PIECE && odd < COPY_FROM && odd > 0 {
            // Large messages are often a power of two, and a little more. In front the little is received with the piece
            // behind it; at the end it would be received alone.
            return self.stage(from, odd).map(Some);
        }
        self.collect()?;
        if !self.lending.has_ticket() || !self.lending.may_copy(len) {
            return Ok(None);
        }
        let Some(mut tail) = self.lending.allocate(len) else {
            self.grow()?;
            return Ok(None);
        };
        if !self.has_room_for_loan()? {
            return Ok(Some(false));
        }
        if self.lending.is_small_for(len) {
            self.grow()?;
        }
        from.copy_to_slice(&mut tail.spare()[..len]);
        let segment = tail.commit(len);
        let Some(placed) = self.lending.place(&segment) else { unreachable!("the memory is the arena's") };
        self.counters.bytes_copied_to_lend += len as u64;
        self.lend(segment, placed, false)?;
        if from.remaining() >= COPY_FROM {
            // The peer copies this piece out while the next is written.
            self.publish()?;
        }
        Ok(Some(true))
    }

    /// Where a segment lies in our arena, if it is to be lent there.
    fn to_refer(&self, segment: &Segment) -> Option<Placed> {
        if segment.len() < REFER_FROM { None } else { self.lending.place(segment) }
    }

    /// Lends the first segment of a chain, which lies in our arena. There is a ticket.
    fn refer(&mut self, chain: &mut Chain, placed: Placed) -> Result<bool, SessionError> {
        if !self.has_room_for_loan()? {
            return Ok(false);
        }
        if let Some(segment) = chain.pop() {
            self.counters.bytes_lent += segment.len() as u64;
            self.lend(segment, placed, true)?;
        }
        Ok(true)
    }

    /// Whether the ring has room for the record of a loan.
    fn has_room_for_loan(&mut self) -> Result<bool, SessionError> {
        Ok(self.reserve(Loan::LEN)?.is_some())
    }

    fn lend(&mut self, segment: Segment, placed: Placed, by_reference: bool) -> Result<(), SessionError> {
        let Ok(loan) = self.lending.lend(segment, placed, by_reference) else {
            unreachable!("whoever lends has asked whether there is a ticket")
        };
        let Some(mut room) = self.reserve(Loan::LEN)? else {
            unreachable!("whoever lends has asked whether there is room")
        };
        room.bytes().copy_from_slice(&loan.encode());
        room.commit(Kind::Lent);
        self.counters.records_sent += 1;
        self.counters.loans_given += 1;
        pass(Site::LoanGiven);
        Ok(())
    }

    /// Stages one record of bytes, at most `most`. Answers whether there was room.
    #[inline]
    fn stage(&mut self, from: &mut impl Buf, most: usize) -> Result<bool, SessionError> {
        let mut len = from.remaining().min(self.longest()).min(most);
        let mut room = loop {
            match self.producer.reserve(len) {
                Ok(room) => break room,
                Err(PushError::Full) if len > SHORTEST => len = (len / 2).max(SHORTEST),
                Err(PushError::Full) => {
                    self.counters.full_waits += 1;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        };
        from.copy_to_slice(room.bytes());
        room.commit(Kind::Inline);
        self.counters.records_sent += 1;
        Ok(true)
    }

    /// Room for a record of `len` bytes, if there is some.
    fn reserve(&mut self, len: usize) -> Result<Option<Room<'_, Mapped<Memory>>>, SessionError> {
        match self.producer.reserve(len) {
            Ok(room) => Ok(Some(room)),
            Err(PushError::Full) => {
                self.counters.full_waits += 1;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends our direction, behind everything that was sent.
    ///
    /// # Errors
    /// When the session is over.
    pub fn end(&mut self) -> Result<(), SessionError> {
        self.live()?;
        self.producer.end();
        let published = self.publish();
        self.latch(published)
    }

    /// Whether our direction was ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.producer.is_ended()
    }

    #[inline]
    pub(crate) fn publish(&mut self) -> Result<(), SessionError> {
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

impl From<PushError> for SessionError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Violation(violation) => violation.into(),
            PushError::Ended | PushError::TooLong | PushError::Full => Self::NobodyReads,
        }
    }
}
