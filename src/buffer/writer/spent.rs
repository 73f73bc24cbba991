//! Segments whose bytes were copied, until they are let go of together.

use crate::buffer::{Block, Segment};

/// References to one block, given up with one atomic operation for all of them. A reference to another block ends the
/// row.
#[derive(Default)]
pub(super) struct Spent {
    block: Option<Block>,
    /// References beside the one that `block` has.
    more: usize,
}

impl Spent {
    /// Takes a segment that nobody needs any more.
    #[inline]
    pub(super) fn add(&mut self, segment: Segment) {
        let added = segment.into_block();
        match &self.block {
            Some(block) if block.is_same(&added) => {
                // Its reference is one of those given up with `block`'s.
                std::mem::forget(added);
                self.more += 1;
            }
            _ => {
                self.let_go();
                self.block = Some(added);
            }
        }
    }

    /// Gives up all of them.
    #[inline]
    pub(super) fn let_go(&mut self) {
        if self.block.is_some() {
            self.let_go_some();
        }
    }

    #[cold]
    fn let_go_some(&mut self) {
        if let Some(block) = self.block.take() {
            block.drop_references(std::mem::take(&mut self.more));
        }
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.let_go();
    }
}
