//! Memory that the peer can read, handed out as blocks of the core.
#![expect(unsafe_code, reason = "blocks are cut from mapped memory")]

use std::fmt;
use std::ptr::NonNull;

use linkpoll::buffer::{Block, Header, Origin, Segment, Tail};
use linkpoll::sync::{Arc, Queue};

use super::runs::{CHUNK, Runs, Slot};

/// A chunk of shared memory: a file of our own that the peer maps too.
///
/// # Safety
/// * The pointer stays valid for reading and writing so many bytes as long as the value lives.
/// * The bytes are initialised (the kernel zeroes new memory), and nobody writes there but the arena: the peer maps them
///   read-only, and a seal forbids it to write.
/// * The value may be dropped on any thread.
pub unsafe trait ArenaMemory: Send + Sync + 'static {
    /// The first byte, and how many.
    fn range(&self) -> (NonNull<u8>, usize);
}

/// The arena of a session, on one thread. What it hands out may be dropped on any, and outlives it.
pub struct Arena<M> {
    chunks: Vec<Arc<Chunk<M>>>,
    runs: Runs,
    returns: Arc<Queue<Slot>>,
}

struct Chunk<M> {
    memory: M,
    returns: Arc<Queue<Slot>>,
}

/// Where bytes lie in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The number of the chunk, in the order in which they were added.
    pub arena: u32,
    /// The offset of the first byte in it.
    pub offset: u32,
    /// How many bytes.
    pub length: u32,
}

#[repr(C)]
struct SlotBlock<M> {
    header: Header,
    slot: Slot,
    chunk: Arc<Chunk<M>>,
}

impl<M: ArenaMemory> Arena<M> {
    const ORIGIN: &'static Origin =
        &Origin { name: "shm arena", writable: true, exchange_pages: None, release: Self::release };

    /// An arena without memory.
    #[must_use]
    pub fn new() -> Self {
        Self { chunks: Vec::new(), runs: Runs::default(), returns: Arc::new(Queue::new()) }
    }

    /// Adds a chunk of [`CHUNK`] bytes that the peer is ready for, and answers its number.
    ///
    /// # Errors
    /// Gives the memory back when it is too small, or the arena as large as it can be.
    pub fn add(&mut self, memory: M) -> Result<u32, M> {
        if memory.range().1 < CHUNK {
            return Err(memory);
        }
        let Some(number) = self.runs.add_chunk() else { return Err(memory) };
        self.chunks.push(Arc::new(Chunk { memory, returns: Arc::clone(&self.returns) }));
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// How many chunks were added.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Memory for `len` bytes, or somewhat more; none when so many are not free in one piece. They hold old data.
    pub fn allocate(&mut self, len: usize) -> Option<Tail> {
        self.take_back();
        let slot = self.runs.take(len)?;
        let chunk = &self.chunks[slot.chunk()];
        // SAFETY: a slot lies inside of its chunk, whose size `add` has checked.
        let bytes = unsafe { chunk.memory.range().0.add(slot.offset()) };
        let header = Header::new(Self::ORIGIN, bytes, slot.size());
        let block = SlotBlock { header, slot, chunk: Arc::clone(chunk) };
        let header = NonNull::from(Box::leak(Box::new(block))).cast();
        // SAFETY: the leaked box keeps the header in place, and its chunk the bytes, until `release`, which may run on any
        // thread. The bytes are initialised, and no other process may write them (`ArenaMemory`). The slot is out, so
        // nobody else has them. The count is one.
        let block = unsafe { Block::from_header(header) };
        Some(Tail::new(block).unwrap_or_else(|_| unreachable!("the block is new and writable")))
    }

    /// Where a segment's bytes lie in this arena, if they do and are some.
    #[must_use]
    pub fn place(&self, segment: &Segment) -> Option<Placed> {
        if segment.is_empty() || segment.block().origin().name != Self::ORIGIN.name {
            return None;
        }
        let first = segment.as_ptr().addr();
        // Addresses suffice: the chunk is mapped, so nothing else lies there.
        let inside = |chunk: &Arc<Chunk<M>>| {
            let offset = first.checked_sub(chunk.memory.range().0.as_ptr().addr())?;
            (offset < CHUNK).then_some(offset)
        };
        let (arena, offset) =
            self.chunks.iter().map(inside).enumerate().find_map(|(n, at)| Some((n, at?)))?;
        Some(Placed {
            arena: u32::try_from(arena).ok()?,
            offset: u32::try_from(offset).ok()?,
            length: u32::try_from(segment.len()).ok()?,
        })
    }

    /// How many bytes are free.
    #[cfg(test)]
    pub(crate) fn free(&mut self) -> usize {
        self.take_back();
        self.runs.free_bytes()
    }

    /// Takes back the slots whose last segment was dropped, wherever that was.
    fn take_back(&mut self) {
        while let Some(slot) = self.returns.pop() {
            self.runs.put(slot);
        }
    }

    /// # Safety
    /// As for [`Origin::release`]; the header is the first field of a leaked `SlotBlock<M>`.
    unsafe fn release(header: NonNull<Header>) {
        // SAFETY: `allocate` made the header as the first field of a leaked box (repr(C)) of this very type.
        let block = unsafe { Box::from_raw(header.cast::<SlotBlock<M>>().as_ptr()) };
        block.chunk.returns.push(block.slot);
    }
}

impl<M: ArenaMemory> Default for Arena<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> fmt::Debug for Arena<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}
