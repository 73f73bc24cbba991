//! References to bytes that nobody needs any more, until they are let go of together.
#![expect(unsafe_code, reason = "a handle is taken apart when it is dropped")]

use std::mem::ManuallyDrop;

use super::{Block, Segment};

/// References to one block that nobody needs any more. Dropping it gives them up, with one atomic operation for all of
/// them; the [`Tail`](super::Tail) of that block takes them back with none.
#[derive(Debug)]
pub struct Spent {
    block: ManuallyDrop<Block>,
    /// References beside the one that `block` has.
    more: usize,
}

impl Spent {
    /// The reference of a segment.
    #[inline(always)] // as `Chain::push`
    #[must_use]
    pub fn new(segment: Segment) -> Self {
        Self { block: ManuallyDrop::new(segment.into_block()), more: 0 }
    }

    /// Adds the reference of another segment, if it is one to the same block.
    ///
    /// # Errors
    /// Gives the segment back when it is not.
    #[inline(always)] // as `Chain::push`
    pub fn add(&mut self, segment: Segment) -> Result<(), Segment> {
        if !self.block.is_same(segment.block()) {
            return Err(segment);
        }
        // Its reference is one of those given up with `block`'s.
        std::mem::forget(segment);
        self.more += 1;
        Ok(())
    }

    /// The references, if they are to this block: so many.
    #[inline(always)]
    pub(super) fn of(self, block: &Block) -> Option<usize> {
        if !self.block.is_same(block) {
            return None;
        }
        let references = 1 + self.more;
        std::mem::forget(self);
        Some(references)
    }
}

impl Drop for Spent {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the field is not used again.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        block.drop_references(self.more);
    }
}
