//! Counted, immutable views of written bytes.
#![expect(unsafe_code, reason = "a segment reads bytes that its reference keeps alive")]

use std::fmt;
use std::ops::{Bound, Deref, Range, RangeBounds};
use std::ptr::NonNull;
use std::slice;

use bytes::Bytes;

use super::{Block, heap};

/// An owned view of bytes in a block. Cloning, slicing and splitting share the bytes; nothing is copied.
///
/// INVARIANT: `start` and `len` describe written bytes of `block`, which nobody changes while the reference lives.
/// Bytes that another process could still change must never become a segment.
#[derive(Clone)]
pub struct Segment {
    block: Block,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes are immutable and kept alive by the block, whose count is thread-safe.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// A view of the `len` bytes from `from` on, which are written.
    #[inline(always)]
    pub(super) fn new(block: Block, from: usize, len: usize) -> Self {
        debug_assert!(from + len <= block.capacity(), "a segment lies inside of its block");
        // SAFETY: `from` is at most the capacity.
        let start = unsafe { block.start().add(from) };
        Self { block, start, len }
    }

    /// A view of everything in the block of another owner (a `Vec<u8>`, a mapped file). The owner is dropped with
    /// the last view, on whichever thread that happens.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::whole(heap::adopt(owner))
    }

    fn whole(block: Block) -> Self {
        let len = block.capacity();
        Self::new(block, 0, len)
    }

    /// Copies bytes into a block of their own.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }

    /// The number of bytes in view.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in view.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block that the bytes lie in.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    #[inline]
    pub(super) fn into_block(self) -> Block {
        self.block
    }

    #[inline]
    fn offset(&self) -> usize {
        self.start.as_ptr().addr() - self.block.start().as_ptr().addr()
    }

    /// A view of a part.
    ///
    /// # Panics
    /// When the range is not inside of the view.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&n) => n.saturating_add(1),
            Bound::Excluded(&n) => n,
            Bound::Unbounded => self.len,
        };
        self.part(self.block.clone(), from..to)
    }

    /// As [`slice`](Self::slice), with a reference to the same block that the caller has.
    #[inline]
    pub(super) fn part(&self, block: Block, range: Range<usize>) -> Self {
        let Range { start: from, end: to } = range;
        assert!(from <= to && to <= self.len, "slice {from}..{to} of a segment of {} bytes", self.len);
        debug_assert!(block.is_same(&self.block), "a part lies in the block of the whole");
        // SAFETY: `from` is at most `len`, so the result is inside of the block or one past its end.
        let start = unsafe { self.start.add(from) };
        Self { block, start, len: to - from }
    }

    /// Splits off the first `n` bytes.
    ///
    /// # Panics
    /// When the view has fewer bytes.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Self {
        let first = self.slice(..n);
        self.advance(n);
        first
    }

    /// Drops the first `n` bytes from view.
    ///
    /// # Panics
    /// When the view has fewer bytes.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "advance by {n} in a segment of {} bytes", self.len);
        // SAFETY: `n` is at most `len`, so the result is inside of the block or one past its end.
        self.start = unsafe { self.start.add(n) };
        self.len -= n;
    }

    /// Keeps the first `n` bytes in view. Does nothing when the view has no more.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// The `n` bytes just before the view, which [`advance`](Self::advance) has dropped from it.
    pub(super) fn before(&self, n: usize) -> &[u8] {
        let offset = self.offset();
        assert!(n <= offset, "{n} bytes before offset {offset}");
        self.block.witness().read(offset - n, n);
        // SAFETY: at least `n` bytes of the block lie before the view.
        let start = unsafe { self.start.sub(n) };
        // SAFETY: they are written (they were in view), immutable, and alive as long as `self`.
        unsafe { slice::from_raw_parts(start.as_ptr(), n) }
    }

    /// Copies the bytes in view into a block of their own and lets go of the shared one.
    #[must_use]
    pub fn detach(self) -> Self {
        Self::copy_of(&self)
    }

    /// The bytes for writing, if nobody else holds the block and its origin allows it.
    pub fn try_unique(&mut self) -> Option<&mut [u8]> {
        if !self.block.origin().writable || !self.block.has_only(1) {
            return None;
        }
        self.block.witness().write(self.offset(), self.len);
        // SAFETY: the only reference is ours, read with Acquire, so no other view exists, and none can be made
        // while `self` is borrowed; the origin allows writing; the bytes are initialised.
        Some(unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) })
    }

    /// Whether [`exchange_pages`](Self::exchange_pages) can ever succeed: such bytes may be lent to a device that may
    /// never say that it is done.
    #[inline]
    #[must_use]
    pub fn has_private_pages(&self) -> bool {
        self.block.origin().exchange_pages.is_some()
    }

    /// Puts fresh, zeroed pages in the place of those that the whole block lies in, if nobody else holds the block and
    /// its memory can do so. Who was shown the old pages (the kernel, which still sends from them) goes on to see the
    /// old bytes, and never what is written into the block in its next life. Answers whether it was done; then no byte
    /// is in view any more.
    pub fn exchange_pages(&mut self) -> bool {
        let done = self.block.exchange_pages();
        if done {
            self.len = 0;
        }
        done
    }

    /// Whether both are views of one block.
    #[must_use]
    pub fn shares_block_with(&self, other: &Self) -> bool {
        self.block.is_same(&other.block)
    }

    #[inline]
    pub(super) fn ends_at(&self, block: &Block, position: usize) -> bool {
        self.block.is_same(block) && self.offset() + self.len == position
    }

    /// Takes in `next` when it begins just where this one ends, in the same block; else gives it back.
    pub(super) fn join(&mut self, next: Self) -> Result<(), Self> {
        if !self.ends_at(&next.block, next.offset()) {
            return Err(next);
        }
        self.len += next.len;
        Ok(())
    }

    /// Extends the view over `n` bytes that were just written behind it.
    #[inline]
    pub(super) fn extend(&mut self, n: usize) {
        debug_assert!(self.offset() + self.len + n <= self.block.capacity(), "inside of the block");
        self.len += n;
    }

    /// Overwrites bytes of a view that has not been given to anybody yet.
    ///
    /// # Safety
    /// No other view of these bytes exists, nor a reference into them, and the origin allows writing.
    pub(super) unsafe fn patch(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "a patch lies inside of its segment");
        self.block.witness().write(self.offset() + at, bytes.len());
        // SAFETY: `at` is inside of the view.
        let target = unsafe { self.start.add(at) };
        // SAFETY: the range is inside of the view, and the caller promises that nobody else looks at it.
        unsafe { target.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

impl Deref for Segment {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.block.witness().read(self.offset(), self.len);
        // SAFETY: by the invariant the bytes are written, immutable, and alive as long as `self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq<[u8]> for Segment {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl From<Vec<u8>> for Segment {
    /// Takes over the vector's memory; nothing is copied.
    fn from(vec: Vec<u8>) -> Self {
        Self::whole(heap::adopt_vec(vec))
    }
}

impl From<Bytes> for Segment {
    /// Keeps the `Bytes` as owner; nothing is copied.
    fn from(bytes: Bytes) -> Self {
        Self::from_owner(bytes)
    }
}

impl From<Segment> for Bytes {
    /// Makes the segment the owner of the `Bytes`; nothing is copied.
    fn from(segment: Segment) -> Self {
        Self::from_owner(segment)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("block", &self.block)
            .field("at", &self.offset())
            .field("len", &self.len)
            .finish()
    }
}
