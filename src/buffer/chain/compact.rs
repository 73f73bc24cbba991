//! What a chain that waits for more bytes gives back.

use super::Chain;
use crate::buffer::Segment;

/// An unread rest smaller than this part of its block does not keep the block.
const SMALL_PART: usize = 8;

/// More pieces than this are joined when a chain is compacted, if they are shorter than this on average.
const MANY_PIECES: usize = 32;
const SMALL_PIECE: usize = 2 << 10;

impl Chain {
    /// Gives back what an idle chain does not need: a consumed piece, what an empty chain remembers, and blocks of
    /// which only a small part is still unread (those bytes are copied into a block of their size).
    #[inline]
    pub fn compact(&mut self) {
        if self.len == 0 {
            self.first = None;
            self.more = None;
        } else {
            self.compact_pieces();
        }
    }

    /// As [`compact`](Self::compact), but leaves the piece that came last alone: more is about to come behind it, in
    /// the same block.
    pub(crate) fn compact_all_but_last(&mut self) {
        self.settle();
        if self.rest().len() == 0 {
            return;
        }
        let last = self.more.as_mut().and_then(|more| more.rest.pop_back());
        self.len -= last.as_ref().map_or(0, Segment::len);
        self.compact_pieces();
        if let Some(last) = last {
            self.len += last.len();
            self.more_mut().rest.push_back(last);
        }
    }

    /// Usually called after each arrival, so it looks only at what came since the last time, and at the first piece,
    /// which shrinks by being read.
    fn compact_pieces(&mut self) {
        self.settle();
        let pieces = self.pieces();
        if pieces > MANY_PIECES && self.len / pieces < SMALL_PIECE {
            // A sender of single bytes must not cost a block for each. Without memory they stay as they are.
            let _ = self.make_contiguous(self.len);
        }
        if let Some(first) = &mut self.first
            && is_small(first)
        {
            *first = Segment::copy_of(first);
            self.unjoin();
        }
        if let Some(more) = &mut self.more {
            for segment in more.rest.iter_mut().skip(more.compacted).filter(|segment| is_small(segment)) {
                *segment = Segment::copy_of(segment);
            }
            more.compacted = more.rest.len();
        }
    }

    /// Puts another piece of the same bytes in the place of the one that came last, if there is one.
    pub(crate) fn replace_last(&mut self, replace: impl FnOnce(&Segment) -> Segment) {
        self.settle();
        if self.len == 0 {
            return;
        }
        if self.rest().len() == 0 {
            self.unjoin();
        }
        if let Some(last) = self.back_mut() {
            let new = replace(last);
            debug_assert_eq!(new.len(), last.len(), "the same bytes");
            *last = new;
        }
    }
}

/// Whether a segment keeps a block of which it is only a small part.
fn is_small(segment: &Segment) -> bool {
    segment.len() < segment.block().capacity() / SMALL_PART
}
