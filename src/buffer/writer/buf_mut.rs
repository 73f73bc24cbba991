//! The writer as `bytes::BufMut`.
#![expect(unsafe_code, reason = "BufMut is an unsafe trait")]

use bytes::BufMut;
use bytes::buf::UninitSlice;

use super::{BLOCK, SegmentWriter};
use crate::buffer::Tail;

// SAFETY: `chunk_mut` offers the same initialised spare bytes until `advance_mut` moves past them: while any are
// left, neither of the two starts over or changes the block.
unsafe impl BufMut for SegmentWriter {
    fn remaining_mut(&self) -> usize {
        usize::MAX - self.len()
    }

    /// # Panics
    /// When the current block has fewer than `n` bytes left.
    unsafe fn advance_mut(&mut self, n: usize) {
        assert!(n <= self.spare().len(), "advance_mut past the chunk");
        self.filled += n;
    }

    /// The trait has no way to report a missing block, so where the pool has none the allocator supplies one.
    ///
    /// # Panics
    /// When the allocator has no memory either.
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.spare().is_empty() {
            self.start_over();
        }
        if self.spare().is_empty() && self.next_block(1).is_err() {
            let tail = Tail::heap(BLOCK).unwrap_or_else(|error| panic!("{error}"));
            self.cut();
            self.tail = Some(tail);
        }
        UninitSlice::new(self.spare())
    }
}
