//! The unwritten rest of a block, and the only right to write it.
#![expect(unsafe_code, reason = "a tail writes where no segment reads")]

use std::fmt;
use std::mem::ManuallyDrop;
use std::slice;

use super::{AllocError, Block, Segment, Spent, heap};
use crate::sync::shrink;

/// References that a tail adds to the count at a time. Cutting a segment then costs no atomic operation, only
/// every so many segments one.
const BATCH: usize = shrink(64, 2);

/// The unwritten rest of a block.
///
/// INVARIANT: a block has at most one tail. Bytes before `at` are written and may be shared; bytes from `at` on are
/// reached through this tail only. The count includes `1 + credit` references of the tail's own.
pub struct Tail {
    block: ManuallyDrop<Block>,
    at: usize,
    credit: usize,
}

impl Tail {
    /// The tail of a block that nobody else holds, with all of its bytes unwritten.
    ///
    /// # Errors
    /// Returns the block when it is shared or its origin does not allow writing.
    pub fn new(block: Block) -> Result<Self, Block> {
        if !block.origin().writable || !block.has_only(1) {
            return Err(block);
        }
        Ok(Self { block: ManuallyDrop::new(block), at: 0, credit: 0 })
    }

    /// A tail of `capacity` zeroed bytes from the allocator, outside of any pool.
    ///
    /// # Errors
    /// When the size is impossible or the system has no memory.
    pub fn heap(capacity: usize) -> Result<Self, AllocError> {
        Ok(Self { block: ManuallyDrop::new(heap::allocate(capacity)?), at: 0, credit: 0 })
    }

    /// The number of bytes that can still be written.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.block.capacity() - self.at
    }

    /// Whether the block is full.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes in the whole block.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// The number of bytes already cut off as segments since the block was last empty.
    #[inline]
    #[must_use]
    pub fn written(&self) -> usize {
        self.at
    }

    /// The unwritten bytes. They hold old data, never uninitialised memory.
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let len = self.len();
        self.block.witness().write(self.at, len);
        // SAFETY: `at` is at most the capacity, so this is inside of the block or one past its end.
        let start = unsafe { self.block.start().add(self.at) };
        // SAFETY: the range is initialised, inside of the block, and by the invariant reached only through `self`,
        // which stays borrowed.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Cuts off the first `n` unwritten bytes, which were written through [`spare`](Self::spare), as a segment.
    ///
    /// # Panics
    /// When fewer than `n` bytes are left.
    #[inline(always)] // a segment that is returned through memory stalls, see `Chain::push`
    pub fn commit(&mut self, n: usize) -> Segment {
        assert!(n <= self.len(), "commit of {n} bytes into a tail of {}", self.len());
        if self.credit == 0 {
            self.borrow_references();
        }
        self.credit -= 1;
        // SAFETY: the reference was added above or by an earlier batch, and the credit was lowered by one.
        let block = unsafe { self.block.duplicate() };
        let from = self.at;
        self.at += n;
        Segment::new(block, from, n)
    }

    #[cold]
    fn borrow_references(&mut self) {
        self.block.add_references(BATCH);
        self.credit = BATCH;
    }

    /// Moves the position past `n` written bytes for a segment that is extended instead of cut anew.
    pub(super) fn skip(&mut self, n: usize) {
        assert!(n <= self.len(), "skip of {n} bytes in a tail of {}", self.len());
        self.at += n;
    }

    /// Whether `segment` ends just where this tail begins.
    #[inline]
    pub(super) fn continues(&self, segment: &Segment) -> bool {
        segment.ends_at(&self.block, self.at)
    }

    /// Takes references back that nobody needs any more: if they are to this block, they are kept in reserve for
    /// segments to be cut, and no atomic operation is made. Others are given up.
    #[inline(always)] // as `commit`
    pub fn take_back(&mut self, spent: Spent) {
        self.credit += spent.of(&self.block).unwrap_or(0);
    }

    /// Takes the whole block for writing again if no segment of it is left anywhere. Answers whether it did.
    #[inline]
    pub fn reset(&mut self) -> bool {
        let alone = self.block.has_only(1 + self.credit);
        if alone {
            self.at = 0;
        }
        alone
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // SAFETY: the field is not used again.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        block.drop_references(self.credit);
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("block", &*self.block).field("written", &self.at).finish()
    }
}
