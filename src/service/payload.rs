//! One message's bytes, still in the input.

use std::collections::vec_deque;
use std::fmt;

use crate::buffer::{Chain, ReadError, Segment};

/// The bytes of one message at the front of a chain. They are consumed when the payload is dropped, read or not.
/// Borrowing them touches no reference count.
pub struct Payload<'a> {
    input: &'a mut Chain,
    len: usize,
}

impl<'a> Payload<'a> {
    /// The first `len` bytes of `input`, which has as many.
    pub(super) fn new(input: &'a mut Chain, len: usize) -> Self {
        debug_assert!(len <= input.len(), "the message is there");
        Self { input, len }
    }

    /// The number of bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message is empty.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, piece by piece, without joining or copying.
    #[inline]
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        Pieces { next: Some(self.input.front()), chain: self.input, rest: None, left: self.len }
    }

    /// The bytes in one piece. Where they lie in several, they are joined first.
    ///
    /// # Errors
    /// When they must be joined and there is no memory.
    #[inline]
    pub fn contiguous(&mut self) -> Result<&[u8], ReadError> {
        self.input.peek(self.len)
    }

    /// Takes the bytes to keep them, or to pass them on.
    #[must_use]
    pub fn into_chain(mut self) -> Chain {
        let len = std::mem::take(&mut self.len);
        self.input.split_to(len).unwrap_or_else(|_| unreachable!("the message is there"))
    }
}

/// The pieces of a payload. Most have one, so the others are looked for only when it was too short.
struct Pieces<'a> {
    next: Option<&'a [u8]>,
    chain: &'a Chain,
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
        let piece = match self.next.take() {
            Some(first) => first,
            None => self.rest.get_or_insert_with(|| self.chain.rest()).next()?,
        };
        let part = piece.len().min(self.left);
        self.left -= part;
        Some(&piece[..part])
    }
}

impl Drop for Payload<'_> {
    #[inline]
    fn drop(&mut self) {
        // The message is there; and without it there is nothing to drop.
        let _ = self.input.skip(self.len);
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("len", &self.len).finish_non_exhaustive()
    }
}
