//! Bytes that are left out now and filled in before they are taken: a length that is known only at the end.

use super::{SegmentWriter, WriteError};

/// A place for bytes that come later. It must be filled before the writer's bytes are taken.
#[derive(Debug)]
#[must_use = "nothing can be taken from the writer until the hole is filled"]
pub struct Hole {
    /// The position in all bytes ever written.
    at: u64,
    len: usize,
}

impl SegmentWriter {
    /// Leaves out `n` bytes, which will be contiguous.
    ///
    /// # Errors
    /// When a block cannot be had.
    #[inline]
    pub fn hole(&mut self, n: usize) -> Result<Hole, WriteError> {
        self.room(n)?[..n].fill(0);
        let at = self.base + self.len() as u64;
        self.filled += n;
        self.open_holes += 1;
        Ok(Hole { at, len: n })
    }

    /// Fills a hole.
    ///
    /// # Errors
    /// When `bytes` is not as long as the hole, or the hole was discarded. The hole is used up in both cases, and
    /// still open in the first.
    #[inline]
    #[expect(unsafe_code, reason = "bytes behind the run's beginning are patched in place")]
    pub fn fill(&mut self, hole: Hole, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.len() != hole.len {
            return Err(WriteError::HoleSize { hole: hole.len, given: bytes.len() });
        }
        let at = hole.at.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| self.open_holes > 0 && *at <= self.len() && bytes.len() <= self.len() - *at);
        let at = at.ok_or(WriteError::HoleGone)?;
        match at.checked_sub(self.ready.len()) {
            Some(at) => {
                let tail = self.tail.as_mut().ok_or(WriteError::HoleGone)?;
                tail.spare()[at..at + bytes.len()].copy_from_slice(bytes);
            }
            // SAFETY: this writer wrote the hole in one piece and has not given it to anybody: `ready` is its own.
            None => unsafe { self.ready.patch(at, bytes) },
        }
        self.open_holes -= 1;
        Ok(())
    }
}
