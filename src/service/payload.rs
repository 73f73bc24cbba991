//! One message's bytes, still in the input.

use std::collections::vec_deque;
use std::fmt;

use crate::buffer::{Chain, ReadError, Segment};

/// The bytes of one message, borrowed from the input. Borrowing them touches no reference count, and they are
/// consumed in any case, read or not.
pub struct Payload<'a>(Place<'a>);

enum Place<'a> {
    /// In one piece. Whoever lends it consumes it.
    Piece { segment: &'a Segment, bytes: &'a [u8] },
    /// At the front of a chain, and to be dropped from it.
    Front { input: &'a mut Chain, len: usize },
}

impl<'a> Payload<'a> {
    /// Bytes of one piece.
    #[inline]
    pub(super) fn piece(segment: &'a Segment, bytes: &'a [u8]) -> Self {
        Self(Place::Piece { segment, bytes })
    }

    /// The first `len` bytes of `input`, which has as many.
    pub(super) fn front(input: &'a mut Chain, len: usize) -> Self {
        debug_assert!(len <= input.len(), "the message is there");
        Self(Place::Front { input, len })
    }

    /// The number of bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Place::Piece { bytes, .. } => bytes.len(),
            Place::Front { len, .. } => *len,
        }
    }

    /// Whether the message is empty.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, piece by piece, without joining or copying.
    #[inline]
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        match &self.0 {
            Place::Piece { bytes, .. } => Pieces { next: bytes, rest: None, left: bytes.len() },
            Place::Front { input, len } => {
                Pieces { next: input.front(), rest: Some(input.rest()), left: *len }
            }
        }
    }

    /// The bytes in one piece. Where they lie in several, they are joined first.
    ///
    /// # Errors
    /// When they must be joined and there is no memory.
    #[inline]
    pub fn contiguous(&mut self) -> Result<&[u8], ReadError> {
        match &mut self.0 {
            Place::Piece { bytes, .. } => Ok(bytes),
            Place::Front { input, len } => input.peek(*len),
        }
    }

    /// Takes the bytes to keep them, or to pass them on.
    #[must_use]
    pub fn into_chain(mut self) -> Chain {
        match &mut self.0 {
            Place::Piece { segment, bytes } => {
                let from = bytes.as_ptr().addr() - segment.as_ptr().addr();
                Chain::from(segment.slice(from..from + bytes.len()))
            }
            Place::Front { input, len } => {
                let len = std::mem::take(len);
                input.split_to(len).unwrap_or_else(|_| unreachable!("the message is there"))
            }
        }
    }
}

/// The pieces of a payload.
struct Pieces<'a> {
    next: &'a [u8],
    rest: Option<vec_deque::Iter<'a, Segment>>,
    left: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let part = self.next.len().min(self.left);
        let piece = &self.next[..part];
        self.left -= part;
        if self.left > 0 {
            self.next = self.rest.as_mut()?.next()?;
        }
        Some(piece)
    }
}

impl Drop for Payload<'_> {
    /// Small enough to be inlined and to vanish for a payload in one piece, which then need not be in memory.
    #[inline]
    fn drop(&mut self) {
        if let Place::Front { input, len } = &mut self.0 {
            consume(input, *len);
        }
    }
}

#[cold]
fn consume(input: &mut Chain, len: usize) {
    // The message is there; and without it there is nothing to drop.
    let _ = input.skip(len);
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("len", &self.len()).finish_non_exhaustive()
    }
}
