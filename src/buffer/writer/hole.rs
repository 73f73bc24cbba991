//! Bytes that are left out now and filled in before they are taken: a length that is known only at the end.

use super::{SegmentWriter, WriteError};

/// A place for bytes that come later. It must be filled before the writer's bytes are taken, unless it has none.
#[derive(Debug)]
#[must_use = "nothing can be taken from the writer until the hole is filled"]
pub struct Hole(Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The position in all bytes ever written.
    at: u64,
    len: usize,
}

/// The holes of a writer that are not filled yet. A [`Hole`] may come from another writer, where its place means
/// something else; only a place in this list is one that the writer left out itself and still has to itself.
#[derive(Debug, Default)]
pub(super) struct OpenHoles {
    newest: Option<Place>,
    /// Rarely any: mostly one hole is open at a time, and then nothing is allocated.
    older: Vec<Place>,
}

impl OpenHoles {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    #[inline]
    fn open(&mut self, place: Place) {
        if place.len > 0
            && let Some(older) = self.newest.replace(place)
        {
            self.older.push(older);
        }
    }

    /// Strikes a place off the list; answers whether it was there.
    #[inline]
    fn close(&mut self, place: Place) -> bool {
        if self.newest == Some(place) {
            self.newest = if self.older.is_empty() { None } else { self.older.pop() };
            return true;
        }
        let index = self.older.iter().rposition(|other| *other == place);
        index.map(|index| self.older.remove(index)).is_some()
    }
}

impl SegmentWriter {
    /// Leaves out `n` bytes, which will be contiguous.
    ///
    /// # Errors
    /// When a block cannot be had.
    #[inline]
    pub fn hole(&mut self, n: usize) -> Result<Hole, WriteError> {
        self.room(n)?;
        let at = self.base + self.len() as u64;
        // What is there now is old, but never leaves: nothing is taken before every hole is filled.
        self.filled += n;
        let place = Place { at, len: n };
        self.holes.open(place);
        Ok(Hole(place))
    }

    /// Fills a hole.
    ///
    /// # Errors
    /// When `bytes` is not as long as the hole, or the hole was discarded. The hole is used up in both cases, and
    /// still open in the first.
    #[inline]
    #[expect(unsafe_code, reason = "bytes behind the run's beginning are patched in place")]
    pub fn fill(&mut self, hole: Hole, bytes: &[u8]) -> Result<(), WriteError> {
        let Hole(place) = hole;
        if bytes.len() != place.len {
            return Err(WriteError::HoleSize { hole: place.len, given: bytes.len() });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let at = place.at.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|_| self.holes.close(place)).ok_or(WriteError::HoleGone)?;
        match at.checked_sub(self.ready.len()) {
            Some(at) => {
                let tail = self.tail.as_mut().ok_or(WriteError::HoleGone)?;
                tail.spare()[at..at + bytes.len()].copy_from_slice(bytes);
            }
            // SAFETY: the place was in the list of open holes, so this writer left it out, in one piece, and has not
            // given it to anybody: `ready` is its own.
            None => unsafe { self.ready.patch(at, bytes) },
        }
        Ok(())
    }
}
