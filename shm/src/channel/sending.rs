//! From bytes, or in place, into our ring.

use std::fmt;
use std::time::Instant;

use super::waiting::Need;
use super::{Channel, ChannelError, Limit};
use crate::ring::Kind;
use crate::session::{MessageRoom, SessionError};

/// The longest part of a message that is longer than a record. The peer copies one out while the next is written.
const PART: usize = 8 << 10;

/// Room for one message in the ring, to be written where the peer will read it. Dropped, it is as if it had never been.
#[must_use = "a message that is not staged is not sent"]
pub struct Room<'a>(MessageRoom<'a>, usize);

impl Room<'_> {
    /// The bytes to write. They hold old data of this side.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        self.0.bytes()
    }

    /// Stages the message. The peer sees it after [`Channel::flush`].
    #[inline]
    pub fn stage(self) {
        self.0.stage(Kind::Inline, self.1);
    }

    /// Stages a message of the first `len` bytes only.
    ///
    /// # Panics
    /// When there is room for fewer.
    #[inline]
    pub fn stage_first(self, len: usize) {
        self.0.stage(Kind::Inline, len);
    }
}

impl fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("len", &self.1).finish_non_exhaustive()
    }
}

impl Channel {
    /// Sends a message, and whatever was staged before it. Waits for room in the ring, as long as that takes.
    ///
    /// # Errors
    /// See [`ChannelError`].
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        self.stage(message)?;
        self.flush()
    }

    /// As [`send`](Self::send), waiting until `deadline` at most.
    ///
    /// # Errors
    /// As there; [`ChannelError::TimedOut`] when there was no room by then: the peer sees nothing of the message.
    pub fn send_until(&mut self, message: &[u8], deadline: Instant) -> Result<(), ChannelError> {
        self.stage_within(message, Limit::At(deadline))?;
        self.flush()
    }

    /// Sends a message if that takes no waiting.
    ///
    /// # Errors
    /// [`ChannelError::WouldBlock`] when there is no room for it; [`ChannelError::TooLong`] when there might never be, because
    /// it is longer than three eighths of the ring.
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        let longest = self.longest_record() / 2 * 3;
        if message.len() > longest {
            return Err(ChannelError::TooLong { len: message.len(), longest });
        }
        self.prepare(message.len(), longest, Limit::Now)?;
        let before = self.session.staged();
        match self.try_stage(message) {
            Ok(true) => self.flush(),
            Ok(false) => {
                self.session.unstage(before);
                self.flush()?;
                self.wait(Need::Room(0), Limit::Now)?;
                Err(ChannelError::WouldBlock)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Stages a message: the peer sees it after the next [`flush`](Self::flush), which costs one fence, and at most one
    /// doorbell, for all that was staged. It sees it earlier when much was staged, or when this side has to wait.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    #[inline]
    pub fn stage(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        self.stage_within(message, Limit::Never)
    }

    /// Shows the peer what was staged, and wakes it if it sleeps.
    ///
    /// # Errors
    /// When the session is over.
    #[inline]
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        self.check()?;
        self.session.publish().map_err(|error| self.fail(error))
    }

    /// Room for a message of at most `len` bytes, in the ring. Waits for it as long as that takes.
    ///
    /// # Errors
    /// As for [`send`](Self::send); [`ChannelError::TooLong`] when it is longer than [`longest_record`](Self::longest_record).
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Room<'_>, ChannelError> {
        self.reserve_within(len, Limit::Never)
    }

    /// As [`reserve`](Self::reserve), waiting until `deadline` at most.
    ///
    /// # Errors
    /// As there, and [`ChannelError::TimedOut`].
    pub fn reserve_until(&mut self, len: usize, deadline: Instant) -> Result<Room<'_>, ChannelError> {
        self.reserve_within(len, Limit::At(deadline))
    }

    /// As [`reserve`](Self::reserve), if that takes no waiting.
    ///
    /// # Errors
    /// As there; [`ChannelError::WouldBlock`] when there is none.
    pub fn try_reserve(&mut self, len: usize) -> Result<Room<'_>, ChannelError> {
        self.reserve_within(len, Limit::Now)
    }

    /// Ends this direction, behind everything that was staged. The peer's goes on. To end twice is to end once.
    ///
    /// # Errors
    /// When the session is over.
    pub fn end(&mut self) -> Result<(), ChannelError> {
        self.check()?;
        self.session.end().map_err(|error| self.fail(error))
    }

    #[inline]
    fn reserve_within(&mut self, len: usize, limit: Limit) -> Result<Room<'_>, ChannelError> {
        self.prepare(len, self.longest_record(), limit)?;
        // Looked for twice: a room cannot be kept while more of it is waited for.
        while !self.has_room(len)? {
            self.wait(Need::Room(len), limit)?;
        }
        match self.session.room(len) {
            Ok(Some(room)) => Ok(Room(room, len)),
            _ => Err(ChannelError::WouldBlock),
        }
    }

    #[inline]
    fn has_room(&mut self, len: usize) -> Result<bool, ChannelError> {
        self.session.room(len).map(|room| room.is_some()).map_err(|error| self.fail(error))
    }

    #[inline]
    fn stage_within(&mut self, message: &[u8], limit: Limit) -> Result<(), ChannelError> {
        self.prepare(message.len(), self.longest, limit)?;
        if message.len() > self.longest_record() {
            return self.stage_parts(message, limit);
        }
        self.stage_record(Kind::Inline, message, limit)?;
        if self.session.staged() > self.longest_record() / 2 { self.flush() } else { Ok(()) }
    }

    /// Stages as much of a message as there is room for. Answers whether that is all of it.
    fn try_stage(&mut self, message: &[u8]) -> Result<bool, SessionError> {
        for (kind, bytes) in self.records_of(message) {
            match self.session.room(bytes.len())? {
                Some(mut room) => {
                    room.bytes().copy_from_slice(bytes);
                    room.stage(kind, bytes.len());
                }
                None => {
                    self.session.count_full_wait();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What records a message is: one, or several parts.
    fn records_of<'m>(&self, message: &'m [u8]) -> impl Iterator<Item = (Kind, &'m [u8])> + use<'m> {
        let longest = self.longest_record();
        let len = if message.len() <= longest { longest } else { longest.min(PART) };
        let last = message.len().saturating_sub(1) / len;
        // Also of no bytes there is one.
        (0..=last).map(move |number| {
            let kind = if number == last { Kind::Inline } else { Kind::Part };
            (kind, &message[number * len..message.len().min((number + 1) * len)])
        })
    }

    /// What comes before any message: parts of one that was given up are taken back.
    #[inline(always)]
    fn prepare(&mut self, len: usize, longest: usize, limit: Limit) -> Result<(), ChannelError> {
        self.check()?;
        if len > longest.min(self.longest) {
            return Err(ChannelError::TooLong { len, longest: longest.min(self.longest) });
        }
        if self.is_torn {
            self.stage_record(Kind::Void, &[], limit)?;
            self.is_torn = false;
        }
        Ok(())
    }

    #[inline(always)]
    fn stage_record(&mut self, kind: Kind, bytes: &[u8], limit: Limit) -> Result<(), ChannelError> {
        loop {
            match self.session.room(bytes.len()) {
                Ok(Some(mut room)) => {
                    room.bytes().copy_from_slice(bytes);
                    room.stage(kind, bytes.len());
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => return Err(self.fail(error)),
            }
            self.session.count_full_wait();
            self.wait(Need::Room(bytes.len()), limit)?;
        }
    }

    /// Stages a long message in parts, and shows each at once. If it has to be given up, what was shown is taken back later.
    #[inline(never)]
    fn stage_parts(&mut self, message: &[u8], limit: Limit) -> Result<(), ChannelError> {
        for (number, (kind, bytes)) in self.records_of(message).enumerate() {
            let staged = self.stage_record(kind, bytes, limit);
            if staged.is_err() {
                self.is_torn = number > 0;
                return staged;
            }
            self.flush()?;
        }
        Ok(())
    }
}
