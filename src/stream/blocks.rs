//! The blocks that a writer copies into.
//!
//! A stream moves between threads, so it cannot use a pool, which belongs to one. Its blocks come from the allocator,
//! and are used again once everything in them was sent: a stream that waits for answers writes into the same few
//! kilobytes all the time, still in the cache, and allocates nothing. One that writes ahead of its peer goes round a few
//! larger blocks, which it gives back one by one when it is ahead no more.

use std::collections::VecDeque;

use crate::buffer::{AllocError, Chain, Tail};
use crate::sync::shrink;

const SMALLEST: usize = shrink(4 << 10, 2);
const LARGEST: usize = shrink(64 << 10, 2);
/// Blocks kept beside the current one.
const MOST_SPARES: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Blocks {
    current: Option<Tail>,
    /// Full ones, the oldest first.
    spares: VecDeque<Tail>,
}

impl Blocks {
    /// Copies bytes behind those in `into`.
    ///
    /// # Errors
    /// When a block cannot be had; the bytes before it are copied then.
    pub(super) fn write(&mut self, mut bytes: &[u8], into: &mut Chain) -> Result<(), AllocError> {
        // What is in `into` keeps the block from being started over.
        if let Some(tail) = &mut self.current
            && tail.written() > 0
            && tail.reset()
        {
            self.spares.pop_front();
        }
        while !bytes.is_empty() {
            let tail = self.room(bytes.len())?;
            let spare = tail.spare();
            let (now, later) = bytes.split_at(spare.len().min(bytes.len()));
            spare[..now.len()].copy_from_slice(now);
            into.push_written(tail, now.len());
            bytes = later;
        }
        Ok(())
    }

    /// A block with room, for so many bytes more.
    fn room(&mut self, bytes: usize) -> Result<&mut Tail, AllocError> {
        let tail = match self.current.take() {
            Some(tail) if !tail.is_empty() => tail,
            Some(full) => self.next(full, bytes)?,
            None => Tail::heap(bytes.next_power_of_two().clamp(SMALLEST, LARGEST))?,
        };
        Ok(self.current.insert(tail))
    }

    /// A block to follow a full one: the oldest, if it was sent by now, else a larger new one.
    fn next(&mut self, full: Tail, bytes: usize) -> Result<Tail, AllocError> {
        let size = bytes.next_power_of_two().max(2 * full.capacity()).clamp(SMALLEST, LARGEST);
        self.spares.push_back(full);
        if self.spares.front_mut().is_some_and(Tail::reset)
            && let Some(oldest) = self.spares.pop_front()
        {
            return Ok(oldest);
        }
        if self.spares.len() > MOST_SPARES {
            self.spares.pop_front();
        }
        Tail::heap(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(blocks: &mut Blocks, bytes: &[u8]) -> Chain {
        let mut chain = Chain::new();
        blocks.write(bytes, &mut chain).expect("memory");
        chain
    }

    #[test]
    fn what_was_sent_is_written_over() {
        // For sizes as they ship.
        if LARGEST < 4 << 10 {
            return;
        }
        let mut blocks = Blocks::default();
        let first = write(&mut blocks, &[1; 1000]).front().as_ptr();
        for n in 2..100 {
            let chain = write(&mut blocks, &[n; 1000]);
            assert_eq!((chain.front().as_ptr(), chain.front()), (first, &[n; 1000][..]));
        }
    }

    #[test]
    fn what_is_not_sent_stays() {
        // For sizes as they ship.
        if LARGEST < 4 << 10 {
            return;
        }
        let mut blocks = Blocks::default();
        let mut kept: Vec<_> = (0..200).map(|n| write(&mut blocks, &[n; 5000])).collect();
        for (n, chain) in (0..).zip(&mut kept) {
            assert_eq!(chain.next(5000).expect("as many"), [n; 5000]);
        }
        assert_eq!(blocks.spares.len(), MOST_SPARES);
        drop(kept);
        (0..MOST_SPARES).for_each(|_| drop(write(&mut blocks, &[1; 10])));
        assert!(blocks.spares.is_empty(), "memory is given back");
    }
}
