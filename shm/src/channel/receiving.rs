//! From the peer's ring into bytes of ours.

use std::fmt;
use std::io;
use std::time::Instant;

use super::waiting::Need;
use super::{Channel, ChannelError, Limit};
use crate::ring::Kind;
use crate::session::{Part, SessionError};
use crate::violation::Violation;

/// The parts of messages after which a call that has a deadline looks at the clock.
const CLOCK_EVERY: u32 = 64;
/// The parts of messages that a call takes which does not wait.
const MOST_UNFINISHED: u32 = 1024;

/// A message that was received. If it was one record, its bytes are still in the ring, and the peer's: they are copied out.
pub struct Message<'a>(Source<'a>);

enum Source<'a> {
    Ring(Part<'a>),
    Own(&'a [u8]),
}

impl Message<'_> {
    /// The number of its bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Source::Ring(record) => record.len(),
            Source::Own(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `from` on. A peer that changes them meanwhile decides what is copied, and nothing else; what was
    /// copied it cannot change. To copy a byte twice may yield two values.
    ///
    /// # Panics
    /// When the message has fewer bytes.
    #[inline]
    pub fn copy_to(&self, from: usize, into: &mut [u8]) {
        match &self.0 {
            Source::Ring(record) => record.copy_to(from, into),
            Source::Own(bytes) => into.copy_from_slice(&bytes[from..from + into.len()]),
        }
    }

    /// Reads the bytes one after the other, each once.
    #[must_use]
    pub fn reader(&self) -> MessageReader<'_> {
        MessageReader { message: self, at: 0 }
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A message's bytes, read from first to last.
#[derive(Debug)]
pub struct MessageReader<'a> {
    message: &'a Message<'a>,
    at: usize,
}

impl io::Read for MessageReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = into.len().min(self.message.len() - self.at);
        self.message.copy_to(self.at, &mut into[..n]);
        self.at += n;
        Ok(n)
    }
}

impl Channel {
    /// Receives a message into `message`, in place of what stands there, and answers its length; `None` when the peer has
    /// ended its direction. Waits as long as that takes.
    ///
    /// A buffer that is used again costs less: its old bytes are overwritten, and not cleared first.
    ///
    /// # Errors
    /// See [`ChannelError`]. A peer that is gone without having ended its direction is an error, behind everything that it had
    /// published.
    #[inline]
    pub fn recv(&mut self, message: &mut Vec<u8>) -> Result<Option<usize>, ChannelError> {
        self.receive_into(message, Limit::Never)
    }

    /// As [`recv`](Self::recv), waiting until `deadline` at most.
    ///
    /// # Errors
    /// As there, and [`ChannelError::TimedOut`]. Parts of a message that have come are kept for the next call.
    pub fn recv_until(
        &mut self,
        message: &mut Vec<u8>,
        deadline: Instant,
    ) -> Result<Option<usize>, ChannelError> {
        self.receive_into(message, Limit::At(deadline))
    }

    /// As [`recv`](Self::recv), if a message is there.
    ///
    /// # Errors
    /// As there; [`ChannelError::WouldBlock`] when none is there, or not all of it.
    pub fn try_recv(&mut self, message: &mut Vec<u8>) -> Result<Option<usize>, ChannelError> {
        self.receive_into(message, Limit::Now)
    }

    /// Receives a message and hands it to `read` where it lies; `None` when the peer has ended its direction. Waits as long as
    /// that takes. The message counts as received, also when `read` panics; until `read` returns, the peer cannot use its room.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    #[inline]
    pub fn recv_with<R>(&mut self, read: impl FnOnce(Message<'_>) -> R) -> Result<Option<R>, ChannelError> {
        self.receive(read, Limit::Never)
    }

    /// As [`recv_with`](Self::recv_with), waiting until `deadline` at most.
    ///
    /// # Errors
    /// As for [`recv_until`](Self::recv_until).
    pub fn recv_with_until<R>(
        &mut self,
        read: impl FnOnce(Message<'_>) -> R,
        deadline: Instant,
    ) -> Result<Option<R>, ChannelError> {
        self.receive(read, Limit::At(deadline))
    }

    /// As [`recv_with`](Self::recv_with), if a message is there.
    ///
    /// # Errors
    /// As for [`try_recv`](Self::try_recv).
    pub fn try_recv_with<R>(
        &mut self,
        read: impl FnOnce(Message<'_>) -> R,
    ) -> Result<Option<R>, ChannelError> {
        self.receive(read, Limit::Now)
    }

    #[inline]
    fn receive_into(&mut self, into: &mut Vec<u8>, limit: Limit) -> Result<Option<usize>, ChannelError> {
        let is_own = self.receive(
            |message| {
                if let Source::Own(_) = message.0 {
                    return true;
                }
                into.resize(message.len(), 0);
                message.copy_to(0, into);
                false
            },
            limit,
        )?;
        Ok(is_own.map(|is_own| {
            if is_own {
                // It was put together in `parts`, and is there still.
                self.parts.truncate(self.held);
                std::mem::swap(&mut self.parts, into);
            }
            into.len()
        }))
    }

    #[inline]
    fn receive<R>(
        &mut self,
        read: impl FnOnce(Message<'_>) -> R,
        limit: Limit,
    ) -> Result<Option<R>, ChannelError> {
        self.check()?;
        let mut unfinished: u32 = 0;
        loop {
            let kind = match self.session.next_record() {
                Ok(Some(record))
                    if record.kind() == Kind::Inline && self.filled == 0 && record.len() <= self.longest =>
                {
                    let value = read(Message(Source::Ring(record)));
                    return self.settle().map(|()| Some(value));
                }
                Ok(Some(record)) => {
                    let kind = record.kind();
                    if matches!(kind, Kind::Inline | Kind::Part)
                        && !append(&mut self.parts, &mut self.filled, &record, self.longest)
                    {
                        return Err(self.fail(SessionError::LongMessage));
                    }
                    kind
                }
                Ok(None) => {
                    if self.session.peer_has_ended() {
                        return Ok(None);
                    }
                    self.wait(Need::Record, limit)?;
                    continue;
                }
                Err(error) => return Err(self.fail(error)),
            };
            self.settle()?;
            match kind {
                Kind::Part => {
                    unfinished = unfinished.wrapping_add(1);
                    self.mind_limit(unfinished, limit)?;
                }
                Kind::Inline => {
                    self.held = std::mem::take(&mut self.filled);
                    return Ok(Some(read(Message(Source::Own(&self.parts[..self.held])))));
                }
                Kind::Void => {
                    self.filled = 0;
                    unfinished = unfinished.wrapping_add(1);
                    self.mind_limit(unfinished, limit)?;
                }
                Kind::End => self.filled = 0,
                Kind::Lent | Kind::Bulk => {
                    return Err(self.fail(Violation::Kind { found: kind as u32 }.into()));
                }
            }
        }
    }

    /// So many records of one call have not ended a message. A peer could go on with such records for ever, of no bytes: the
    /// call ends at its deadline all the same, and one that does not wait after a while.
    fn mind_limit(&self, records: u32, limit: Limit) -> Result<(), ChannelError> {
        match limit {
            Limit::At(deadline) if records.is_multiple_of(CLOCK_EVERY) && Instant::now() >= deadline => {
                Err(ChannelError::TimedOut)
            }
            Limit::Now if records >= MOST_UNFINISHED => Err(ChannelError::WouldBlock),
            _ => Ok(()),
        }
    }

    #[inline]
    fn settle(&mut self) -> Result<(), ChannelError> {
        self.session.settle().map_err(|error| self.fail(error))
    }
}

/// Adds a record to what has come of its message. Answers whether that may be so long.
#[inline(never)]
fn append(parts: &mut Vec<u8>, filled: &mut usize, record: &Part<'_>, longest: usize) -> bool {
    let end = *filled + record.len();
    if end > longest {
        return false;
    }
    if parts.len() < end {
        parts.resize(end, 0);
    }
    record.copy_to(0, &mut parts[*filled..end]);
    *filled = end;
    true
}
