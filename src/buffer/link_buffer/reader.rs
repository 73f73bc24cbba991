//! The reading end of a stream.
#![expect(unsafe_code, reason = "the reader's side of the protocol in the module above")]

use std::fmt;

use super::chunk::{Chunk, SLOTS};
use super::{EOF, FLAG_BITS, GONE, SEVERED, Shared};
use crate::buffer::Chain;
use crate::sync::{Arc, Ordering};

/// The reading end. Belongs to one thread at a time.
pub struct LinkReader {
    shared: Arc<Shared>,
    chunk: *mut Chunk,
    /// The next slot to take in `chunk`.
    slot: usize,
    /// Bytes taken out of slots so far.
    taken: u64,
    unread: Chain,
}

// SAFETY: the raw pointer is the reader's own place in a list that the protocol divides between two threads.
unsafe impl Send for LinkReader {}

/// What a [`LinkReader::refill`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refill {
    /// The stream goes on; so many bytes were added, perhaps none.
    Open(usize),
    /// The stream is complete; so many bytes were added, and none will follow.
    Complete(usize),
}

/// The writer went away without completing the stream. Every byte it had pushed was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severed;

impl fmt::Display for Severed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the writer went away before the end of the stream")
    }
}

impl std::error::Error for Severed {}

impl LinkReader {
    pub(super) fn new(shared: Arc<Shared>, first: *mut Chunk) -> Self {
        Self { shared, chunk: first, slot: 0, taken: 0, unread: Chain::new() }
    }

    /// The bytes taken over and not yet consumed. What is consumed here is reported to the writer by the next
    /// [`refill`](Self::refill) or [`release`](Self::release).
    pub fn unread(&mut self) -> &mut Chain {
        &mut self.unread
    }

    /// Takes over what the writer has published, and reports what was consumed. Never blocks.
    ///
    /// # Errors
    /// [`Severed`], once no byte is left to take over.
    pub fn refill(&mut self) -> Result<Refill, Severed> {
        self.release();
        // ORDERING: Acquire pairs with the Release stores of `published`: slots and links up to here are filled.
        let published = self.shared.published.load(Ordering::Acquire);
        let before = self.taken;
        while self.taken != published >> FLAG_BITS {
            self.take_one();
        }
        let added = usize::try_from(self.taken - before).unwrap_or(usize::MAX);
        match published {
            word if word & EOF != 0 => Ok(Refill::Complete(added)),
            word if word & SEVERED != 0 && added == 0 => Err(Severed),
            _ => Ok(Refill::Open(added)),
        }
    }

    /// Bytes taken over and no longer unread. Whoever has the chain may also put bytes in that never went through
    /// the stream. They count as unread, but never bring the number below zero: a report of more than was taken
    /// would let the writer reuse a chunk that the reader is still in.
    fn consumed(&self) -> u64 {
        self.taken.saturating_sub(self.unread.len() as u64)
    }

    /// Reports what was consumed, so that the writer may send more and use chunks again.
    pub fn release(&mut self) {
        let consumed = self.consumed();
        // ORDERING: Release pairs with the Acquire load in `LinkWriter::reclaim`: our last touch of the chunks we
        // have left comes before the writer's reuse.
        self.shared.consumed.store(consumed << FLAG_BITS, Ordering::Release);
    }

    fn take_one(&mut self) {
        if self.slot == SLOTS {
            // SAFETY: bytes behind this chunk are published, so the link was set before.
            self.chunk = unsafe { Chunk::next(self.chunk) };
            self.slot = 0;
        }
        // SAFETY: bytes not yet taken are published, so the slot was filled before.
        let segment = unsafe { Chunk::exchange(self.chunk, self.slot, None) };
        let segment = segment.unwrap_or_else(|| unreachable!("a published slot is full"));
        self.slot += 1;
        self.taken += segment.len() as u64;
        self.unread.push(segment);
    }
}

impl Drop for LinkReader {
    fn drop(&mut self) {
        let consumed = self.consumed();
        // ORDERING: Release as in `release`.
        self.shared.consumed.store(consumed << FLAG_BITS | GONE, Ordering::Release);
    }
}

impl fmt::Debug for LinkReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkReader")
            .field("taken", &self.taken)
            .field("unread", &self.unread.len())
            .finish_non_exhaustive()
    }
}
