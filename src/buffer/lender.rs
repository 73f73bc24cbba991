//! Cutting many views off one block, with two atomic operations for all of them.
#![expect(unsafe_code, reason = "references are added in batches and given out one by one")]

use std::ops::Range;

use super::{Block, Segment};

/// The most references added at a time.
const MOST: usize = crate::sync::shrink(256, 2);

/// Cuts views off segments that stay whole. References are added as many at a time as views are expected of a block;
/// what is left over is given back in the end.
///
/// INVARIANT: the count of `block` includes `credit` references beside the one of the field itself.
#[derive(Default)]
pub(crate) struct Lender {
    block: Option<Block>,
    credit: usize,
}

impl Lender {
    /// A view of a part of a segment; `expected` says how many are expected of its block in all from now on.
    ///
    /// # Panics
    /// When the range is not inside of the segment.
    #[inline(always)] // a segment that is returned through memory stalls, see `Chain::push`
    pub(crate) fn slice(
        &mut self,
        segment: &Segment,
        range: Range<usize>,
        expected: impl FnOnce() -> usize,
    ) -> Segment {
        let same = self.block.as_ref().is_some_and(|lent| lent.is_same(segment.block()));
        if !same | (self.credit == 0) {
            self.borrow(segment.block(), expected());
        }
        self.credit -= 1;
        // SAFETY: the reference was added to this very block by `borrow`, now or before, and the credit was lowered by
        // one.
        let block = unsafe { segment.block().duplicate() };
        segment.part(block, range)
    }

    #[cold]
    fn borrow(&mut self, block: &Block, expected: usize) {
        let credit = expected.clamp(1, MOST);
        if self.block.as_ref().is_some_and(|lent| lent.is_same(block)) {
            block.add_references(credit);
        } else {
            self.let_go();
            block.add_references(credit + 1);
            // SAFETY: one of the references just added is for this handle.
            self.block = Some(unsafe { block.duplicate() });
        }
        self.credit = credit;
    }

    /// Gives back what is left over.
    #[inline]
    pub(crate) fn let_go(&mut self) {
        if let Some(block) = self.block.take() {
            block.drop_references(std::mem::take(&mut self.credit));
        }
    }
}

impl Drop for Lender {
    #[inline]
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Views of several blocks in turn: each has its own references, and none is left over.
    #[test]
    fn a_view_has_a_reference_of_its_own_block() {
        let wholes = [vec![1; 8], vec![2; 8]].map(Segment::from);
        let mut lender = Lender::default();
        let views: Vec<Segment> = (0..6).map(|n| lender.slice(&wholes[n % 2], n..n + 2, || 4)).collect();
        drop(lender);
        assert!(views.iter().zip([1, 2, 1, 2, 1, 2]).all(|(view, of)| **view == [of; 2]));
        drop(views);
        for whole in wholes {
            assert!(whole.block().has_only(1), "nothing is left over");
        }
    }
}
