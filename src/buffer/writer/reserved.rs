//! A reservation: contiguous room that is written first and committed after, in part or whole.

use std::fmt;

use super::{SegmentWriter, WriteError};

/// Room for contiguous bytes. Dropping it without a commit writes nothing.
pub struct Reserved<'a> {
    writer: &'a mut SegmentWriter,
    room: usize,
    written: usize,
}

impl<'a> Reserved<'a> {
    pub(super) fn new(writer: &'a mut SegmentWriter, room: usize) -> Self {
        Self { writer, room, written: 0 }
    }

    /// The bytes that can still be written.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.room - self.written
    }

    /// Copies as many bytes in as there is room for, and answers how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        self.claim(n).copy_from_slice(&bytes[..n]);
        n
    }

    /// The next `n` bytes (or as many as there is room for), zeroed, to be written in place. They count as written.
    pub fn zeroed(&mut self, n: usize) -> &mut [u8] {
        let n = n.min(self.remaining());
        let claimed = self.claim(n);
        claimed.fill(0);
        claimed
    }

    fn claim(&mut self, n: usize) -> &mut [u8] {
        let from = self.written;
        self.written += n;
        &mut self.writer.spare()[from..from + n]
    }

    /// Keeps the first `n` written bytes and drops the rest of the reservation. Returns the number kept.
    ///
    /// # Errors
    /// When fewer bytes were written: old bytes of the block never leave it. Nothing is kept then.
    pub fn commit(self, n: usize) -> Result<usize, WriteError> {
        if n > self.written {
            return Err(WriteError::NotWritten { asked: n, written: self.written });
        }
        self.writer.filled += n;
        Ok(n)
    }
}

impl fmt::Debug for Reserved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("room", &self.room).field("written", &self.written).finish()
    }
}
