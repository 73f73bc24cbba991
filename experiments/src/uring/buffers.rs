//! The buffers that the kernel receives into.
//!
//! The kernel's queue of provided buffers holds addresses, not memory. So a buffer here is the unwritten rest of a block
//! of the loop's pool, and what was received into it becomes a segment of that block:
//!
//! ```text
//!   number 7:  | message | message | rest: with the kernel ..................... |   block of the pool
//!                   |         |
//!                segments, held by whoever wants them for as long as he wants
//! ```
//!
//! * A buffer is **with the kernel** from `provide` until a completion names it, and **with us** in between.
//! * When it comes back it is provided again, from its start if nobody holds a segment of it any more (the bytes are in
//!   the cache then), else from where the last bytes ended. With little room left it is exchanged for a fresh block;
//!   the old one goes back to the pool with its last segment, on whatever thread that is dropped.
//! * So what a handler keeps takes nothing away from the kernel, as long as the pool has blocks. Only when it has none
//!   do buffers stay with us, empty; then connections starve, and go on when the pool rings the bell.
#![expect(unsafe_code, reason = "memory is given to the kernel")]

use std::ptr::NonNull;

use linkpoll::buffer::{AllocError, BlockPool, Segment, Tail};

use super::ring::Ring;

/// With less room than this part of its block left, a buffer is exchanged.
const LITTLE_PART: usize = 4;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Buffers {
    /// By number. `None` where the pool had no block.
    tails: Vec<Option<Tail>>,
    /// Numbers of the buffers that are with us.
    ours: Vec<u16>,
    size: usize,
}

impl Buffers {
    /// So many buffers of so many bytes, none of them provided yet.
    pub(super) fn new(count: u16, size: usize) -> Self {
        Self { tails: (0..count).map(|_| None).collect(), ours: (0..count).rev().collect(), size }
    }

    /// Buffers that the kernel has.
    pub(super) fn with_kernel(&self) -> usize {
        self.tails.len() - self.ours.len()
    }

    /// Whether all of them are with the kernel.
    pub(super) fn are_all_with_kernel(&self) -> bool {
        self.ours.is_empty()
    }

    /// Provides what is with us.
    ///
    /// # Errors
    /// When the pool has no block for one of them; the others are provided.
    pub(super) fn provide<R: Ring>(&mut self, pool: &BlockPool, ring: &mut R) -> Result<(), AllocError> {
        let mut result = Ok(());
        let mut at = self.ours.len();
        while at > 0 {
            at -= 1;
            let number = self.ours[at];
            let tail = &mut self.tails[usize::from(number)];
            if let Err(error) = prepare(tail, self.size, pool) {
                result = Err(error);
            }
            let Some(tail) = tail.as_mut().filter(|tail| !tail.is_empty()) else { continue };
            let bytes = tail.spare();
            let (start, len) = (NonNull::from(&mut *bytes).cast(), bytes.len());
            // SAFETY: the tail is the only right to write these bytes, and is not touched before the kernel gives
            // them back; when the ring is gone they are dropped last. The number is on our list, so not with the kernel.
            unsafe { ring.provide(number, start, len) };
            self.ours.swap_remove(at);
        }
        result
    }

    /// Takes a buffer back, with bytes in it.
    #[inline]
    pub(super) fn take(&mut self, number: u16, len: usize) -> Option<Segment> {
        let tail = self.tails.get_mut(usize::from(number))?.as_mut()?;
        debug_assert!(!self.ours.contains(&number), "the kernel gives back what it has");
        self.ours.push(number);
        Some(tail.commit(len))
    }

    /// Takes a buffer back, unused.
    pub(super) fn give_back(&mut self, number: u16) {
        debug_assert!(!self.ours.contains(&number), "the kernel gives back what it has");
        self.ours.push(number);
    }
}

/// Sees to it that a buffer has room: its own, or a fresh block's.
fn prepare(tail: &mut Option<Tail>, size: usize, pool: &BlockPool) -> Result<(), AllocError> {
    if let Some(tail) = tail
        && (tail.written() == 0 || tail.reset() || tail.len() >= size / LITTLE_PART)
    {
        return Ok(());
    }
    *tail = Some(pool.allocate(size)?);
    Ok(())
}
