//! The writing end of a stream.
#![expect(unsafe_code, reason = "the writer's side of the protocol in the module above")]

use std::fmt;
use std::ptr;

use super::chunk::{Chunk, SLOTS};
use super::{EOF, FLAG_BITS, GONE, SEVERED, Shared};
use crate::buffer::{Chain, Segment};
use crate::sync::{Arc, Ordering};

/// The writing end. Belongs to one thread at a time.
pub struct LinkWriter {
    shared: Arc<Shared>,
    chunk: *mut Chunk,
    /// The next slot to fill in `chunk`.
    slot: usize,
    /// Bytes put into slots so far, published or not.
    bytes: u64,
    finished: bool,
}

// SAFETY: the raw pointer is the writer's own place in a list that the protocol divides between two threads.
unsafe impl Send for LinkWriter {}

impl LinkWriter {
    pub(super) fn new(shared: Arc<Shared>, first: *mut Chunk) -> Self {
        Self { shared, chunk: first, slot: 0, bytes: 0, finished: false }
    }

    /// Publishes all pieces of a chain, at once. Never blocks.
    ///
    /// # Errors
    /// Returns the chain when the reader is gone.
    pub fn push(&mut self, chain: Chain) -> Result<(), ReaderGone> {
        if self.is_reader_gone() {
            return Err(ReaderGone(chain));
        }
        let mut chain = chain;
        while let Some(segment) = chain.pop() {
            self.put(segment);
        }
        // ORDERING: Release publishes slots and links to the reader's Acquire load in `LinkReader::refill`.
        self.shared.published.store(self.bytes << FLAG_BITS, Ordering::Release);
        Ok(())
    }

    /// Completes the stream: after the last byte the reader sees its end.
    pub fn finish(mut self) {
        self.finished = true;
    }

    /// The bytes pushed that the reader has not consumed yet.
    #[must_use]
    pub fn unconsumed(&self) -> u64 {
        // ORDERING: Relaxed: a number for flow control; no memory is reached through it.
        let consumed = self.shared.consumed.load(Ordering::Relaxed);
        self.bytes - (consumed >> FLAG_BITS)
    }

    /// Whether nobody will ever read what is pushed.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        // ORDERING: Relaxed: the answer may be old; what is pushed to a reader that is gone is freed with the list.
        self.shared.consumed.load(Ordering::Relaxed) & GONE != 0
    }

    fn put(&mut self, segment: Segment) {
        if self.slot == SLOTS {
            self.next_chunk();
        }
        let len = segment.len() as u64;
        // SAFETY: `chunk` is the last of the list, and this slot comes after all published bytes.
        let old = unsafe { Chunk::exchange(self.chunk, self.slot, Some(segment)) };
        debug_assert!(old.is_none(), "the reader empties each slot before its chunk is used again");
        self.slot += 1;
        self.bytes += len;
    }

    fn next_chunk(&mut self) {
        // SAFETY: `end` is the writer's.
        unsafe { Chunk::set_end(self.chunk, self.bytes) };
        let next = self.reclaim().unwrap_or_else(Chunk::allocate);
        // SAFETY: the reader follows this link only once bytes behind it are published.
        unsafe { Chunk::set_next(self.chunk, next) };
        self.chunk = next;
        self.slot = 0;
    }

    /// The oldest chunk, if the reader has left it for ever.
    fn reclaim(&mut self) -> Option<*mut Chunk> {
        // ORDERING: Acquire pairs with the Release store in `LinkReader::release`: the reader's last touch of the
        // slots and the link of a chunk it has left comes before our reuse.
        let consumed = self.shared.consumed.load(Ordering::Acquire) >> FLAG_BITS;
        self.shared.oldest.with_mut(|oldest| {
            // SAFETY: `oldest` is the writer's.
            let chunk = unsafe { *oldest };
            // SAFETY: the oldest chunk is alive, and `end` is the writer's. In the current chunk `end` was set by
            // the caller, and not more bytes than that exist, so it is never taken here.
            if consumed <= unsafe { Chunk::end(chunk) } {
                return None;
            }
            // SAFETY: bytes behind this chunk were consumed, so the reader has followed the link and left.
            let next = unsafe { Chunk::next(chunk) };
            // SAFETY: `oldest` is the writer's.
            unsafe { *oldest = next };
            // SAFETY: the chunk is the writer's again, as if new.
            unsafe { Chunk::set_next(chunk, ptr::null_mut()) };
            Some(chunk)
        })
    }
}

impl Drop for LinkWriter {
    /// Ends the stream: as complete after [`finish`](Self::finish), else as severed.
    fn drop(&mut self) {
        let end = if self.finished { EOF } else { SEVERED };
        // ORDERING: Release as in `push`; the end and the bytes before it are one word.
        self.shared.published.store(self.bytes << FLAG_BITS | end, Ordering::Release);
    }
}

impl fmt::Debug for LinkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The reader is gone; what was to be pushed comes back.
#[derive(Debug)]
pub struct ReaderGone(pub Chain);

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reader is gone; {} bytes were not pushed", self.0.len())
    }
}

impl std::error::Error for ReaderGone {}
