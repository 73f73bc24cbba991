//! From the peer's ring, and from what it lends, into blocks of ours.

use linkpoll::buffer::Segment;

use super::{Session, SessionError};
use crate::bulk::BulkError;
use crate::ring::Kind;
use crate::slots::Loan;
use crate::sys::{Site, pass};
use crate::violation::Violation;
use crate::wire::Bulk;

/// Room for received bytes: up to two pieces of memory, the second for what does not fit into the first.
#[derive(Debug)]
pub struct Room<'a> {
    /// Filled first.
    pub first: &'a mut [u8],
    /// Filled then.
    pub second: &'a mut [u8],
}

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// Nothing is there at present.
    Nothing,
    /// So many bytes were copied into the room.
    Copied(usize),
    /// Memory that the peer has sealed and given away.
    Sealed(Segment),
    /// The peer has ended its direction. Answered again when asked again.
    End,
}

/// A record that is no bytes, and comes behind some.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    End,
    Bulk(Bulk),
}

impl Room<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// `len` bytes from `at` on, which are there.
    #[inline]
    fn split(&mut self, at: usize, len: usize) -> (&mut [u8], &mut [u8]) {
        let end = self.first.len();
        if at + len <= end {
            (&mut self.first[at..at + len], &mut [])
        } else {
            let (from, to) = (at.saturating_sub(end), at + len - end);
            (&mut self.first[at.min(end)..], &mut self.second[from..to])
        }
    }
}

impl Session {
    /// The least room that [`receive`](Self::receive) needs.
    #[must_use]
    pub fn least_room(&self) -> usize {
        self.consumer.longest()
    }

    /// Whether the peer has published something. Costs one load of a word that the peer writes.
    ///
    /// # Errors
    /// When the session is over.
    #[inline]
    pub fn has_news(&mut self) -> Result<bool, SessionError> {
        self.live()?;
        let waiting = self.consumer.poll().map_err(SessionError::from);
        Ok(self.latch(waiting)? > 0)
    }

    /// Whether [`receive`](Self::receive) has something to tell that is not in the ring: the rest of a loan, a record behind
    /// the last bytes, the end, or the peer's death.
    #[inline]
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending.is_some() || self.loan.is_some() || self.consumer.is_ended() || self.peer_is_gone
    }

    /// Copies records into the room, as many as fit, up to about `budget` bytes, and what they lend, up to just so many.
    /// What is not bytes is answered alone.
    ///
    /// # Errors
    /// When the session is over.
    ///
    /// # Panics
    /// When there is less room than [`least_room`](Self::least_room).
    pub fn receive(&mut self, room: &mut Room<'_>, budget: usize) -> Result<Received, SessionError> {
        self.live()?;
        let received = self.take_in(room, budget);
        self.latch(received)
    }

    fn take_in(&mut self, room: &mut Room<'_>, budget: usize) -> Result<Received, SessionError> {
        if let Some(pending) = self.pending.take() {
            return self.answer(pending);
        }
        let least = self.consumer.longest();
        let total = room.len();
        assert!(total >= least, "{total} bytes of room where a record may have {least}");
        let mut copied = 0;
        while copied < budget {
            if let Some(loan) = &mut self.loan {
                let n = loan.left().min(total - copied).min(budget - copied);
                let (first, second) = room.split(copied, n);
                self.borrowing.copy(loan, first);
                if !second.is_empty() {
                    self.borrowing.copy(loan, second);
                }
                copied += n;
                if loan.left() > 0 {
                    break;
                }
                pass(Site::LoanRead);
                let is_large = loan.is_large();
                self.borrower.release(loan.ticket());
                self.loan = None;
                if is_large {
                    // The lender may write its next piece there.
                    let doorbell = self.borrower.publish();
                    self.ring(doorbell)?;
                }
                continue;
            }
            if total - copied < least {
                break;
            }
            let Some(record) = self.consumer.pop()? else { break };
            self.counters.records_received += 1;
            match record.kind() {
                Kind::Inline => {
                    let (first, second) = room.split(copied, record.len());
                    record.copy_to(0, first);
                    if !second.is_empty() {
                        record.copy_to(first.len(), second);
                    }
                    copied += record.len();
                    continue;
                }
                Kind::Bulk => {
                    let mut words = [0; 8];
                    if record.len() != words.len() {
                        let found = u32::try_from(record.len()).unwrap_or(u32::MAX);
                        return Err(Violation::Length { found }.into());
                    }
                    record.copy_to(0, &mut words);
                    let [a, b, c, d, e, f, g, h] = words;
                    self.pending = Some(Pending::Bulk(Bulk {
                        sequence: u32::from_le_bytes([a, b, c, d]),
                        len: u32::from_le_bytes([e, f, g, h]),
                    }));
                }
                Kind::Lent => {
                    let loan = Loan::decode(&record).and_then(|loan| self.borrowing.check(loan));
                    self.loan = Some(loan.map_err(|violation| self.consumer.condemn(violation))?);
                    self.counters.loans_received += 1;
                    continue;
                }
                kind @ (Kind::Part | Kind::Void) => {
                    let violation = Violation::Kind { found: kind as u32 };
                    return Err(self.consumer.condemn(violation).into());
                }
                Kind::End => self.pending = Some(Pending::End),
            }
            break;
        }
        // Also where no bytes came: records without any take room in the ring too.
        let doorbell = self.consumer.settle().or(self.borrower.publish());
        self.ring(doorbell)?;
        if copied > 0 {
            self.counters.bytes_received += copied as u64;
            return Ok(Received::Copied(copied));
        }
        match self.pending.take() {
            Some(pending) => self.answer(pending),
            None if self.consumer.is_ended() => Ok(Received::End),
            // One more look, after the socket has told of the end: what was published before is received first.
            None if self.peer_is_gone && self.consumer.poll()? == 0 => Err(SessionError::PeerGone),
            None => Ok(Received::Nothing),
        }
    }

    fn answer(&mut self, pending: Pending) -> Result<Received, SessionError> {
        match pending {
            Pending::End => Ok(Received::End),
            Pending::Bulk(bulk) => {
                if let Some(segment) = self.arrivals.claim(bulk)? {
                    self.counters.bytes_received += segment.len() as u64;
                    return Ok(Received::Sealed(segment));
                }
                // It was sent before the record was published, so it is in the socket.
                self.hear(true)?;
                let segment = self.arrivals.claim(bulk)?.ok_or(BulkError::Sequence)?;
                self.counters.bytes_received += segment.len() as u64;
                Ok(Received::Sealed(segment))
            }
        }
    }
}
