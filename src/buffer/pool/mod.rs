//! A pool of page-aligned blocks: one thread allocates, any thread gives back.
//!
//! # Paths of a block
//!
//! ```text
//!             allocate (owner)                     dropped by the owner: straight back, no atomic
//!   free list ----------------> tail, segments --+-------------------------------------------> free list
//!        ^                                       |
//!        |  collect (owner: take all)            | dropped elsewhere: push
//!        +------------------- return list <------+
//!                                  |               dropped after the pool: the dropper frees
//!                                  +-- closed ---> slab, when it is the slab's last block
//! ```
//!
//! * **Foreign drop.** The dropper pushes the block onto the return list ([`PushList`]); the owner collects the list
//!   when its own runs out. The push publishes the dropper's reads, so the owner may rewrite the bytes.
//! * **Closed pool.** When the pool goes away it closes the list. A dropper that finds it closed subtracts its block
//!   from the slab's count of shares; whoever brings that count to zero frees the slab. The pool subtracts its free
//!   blocks in the same way, together with a share of its own, without which droppers could free a slab that the pool
//!   is still looking at. So there is no moment at which nobody, or two, are responsible.
//! * **Starved owner.** At its limit the owner arms a [`SleepFlag`] and collects once more. A dropper that sees the
//!   flag rings the owner's bell: either the owner finds the block, or the dropper finds the flag.
//! * **Giving memory back.** Blocks of one size live in slabs; one wholly free slab per size is kept, a second is
//!   unmapped at once.
#![expect(unsafe_code, reason = "the owner's state is reached by blocks through raw pointers")]

mod owner;
mod slab;

use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use super::{AllocError, Block, Tail};
use crate::handover::{PushList, SleepFlag};
use crate::sync::{Arc, Bell, ThreadToken, UnsafeCell, shrink};
use owner::State;
use slab::PoolBlock;

/// The sizes of blocks, in bytes. A larger request gets a mapping of its own.
const CLASSES: [usize; 5] =
    [shrink(4 << 10, 2), shrink(16 << 10, 4), shrink(64 << 10, 6), shrink(256 << 10, 8), shrink(1 << 20, 10)];

/// Blocks of one size are mapped together, about this many bytes at a time.
const SLAB: usize = shrink(256 << 10, 4);

/// How a pool behaves.
pub struct PoolOptions {
    /// The most bytes the pool maps at any time. Default: 1 GiB.
    pub limit: usize,
    /// Rung when a block comes back from another thread to an owner that found the pool at its limit.
    pub bell: Option<Box<dyn Bell>>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { limit: 1 << 30, bell: None }
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolOptions").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// How much memory a pool has, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Mapped from the system.
    pub mapped: usize,
    /// Of that, free to be allocated. Blocks on the return list count as in use until they are collected.
    pub free: usize,
    /// The most that may be mapped.
    pub limit: usize,
}

/// What the owner and the blocks share.
struct Shared {
    owner: ThreadToken,
    returns: PushList<PoolBlock>,
    starved: SleepFlag,
    bell: Option<Box<dyn Bell>>,
    /// INVARIANT: touched by the owner's thread only.
    state: UnsafeCell<State>,
}

// SAFETY: everything but `state` is thread-safe, and `state` is touched by the owner's thread only: by the pool,
// which is not Send, and by a drop that has compared thread tokens, which are never used twice.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointers in `state` are owned by the pool, and its drop is the owner's last use.
unsafe impl Send for Shared {}

impl Shared {
    /// Runs `f` on the owner's state.
    ///
    /// # Safety
    /// The calling thread is the owner, and no other call of `with_state` is under way.
    unsafe fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        self.state.with_mut(|state| {
            // SAFETY: the caller is the only thread that comes here, and comes once.
            f(unsafe { &mut *state })
        })
    }
}

/// A pool of blocks that belongs to one thread; clones share it.
#[derive(Clone)]
pub struct BlockPool {
    owner: Rc<Owner>,
}

struct Owner(Arc<Shared>);

impl BlockPool {
    /// An empty pool, owned by the calling thread.
    #[must_use]
    pub fn new(options: PoolOptions) -> Self {
        let shared = Shared {
            owner: ThreadToken::current(),
            returns: PushList::new(),
            starved: SleepFlag::new(),
            bell: options.bell,
            state: UnsafeCell::new(State::new(options.limit)),
        };
        Self { owner: Rc::new(Owner(Arc::new(shared))) }
    }

    /// A block of at least `size` bytes, all unwritten.
    ///
    /// # Errors
    /// [`AllocError::Exhausted`] at the limit: then the bell rings when another thread gives a block back (a block
    /// given back on this thread rings nothing). Else when the size is impossible or the system has no memory.
    pub fn allocate(&self, size: usize) -> Result<Tail, AllocError> {
        let shared = &self.owner.0;
        // SAFETY: the pool is not Send, so this is the owner's thread; `State` never calls back into the pool.
        let header = match unsafe { shared.with_state(|state| state.allocate(size, shared)) } {
            Ok(header) => header,
            Err(AllocError::Exhausted { .. }) => self.allocate_starved(size)?,
            Err(error) => return Err(error),
        };
        // SAFETY: the slab keeps header and bytes in place until the block is released and the slab is freed after
        // that; release works on any thread; mapped memory is initialised; the count was renewed to one.
        let block = unsafe { Block::from_header(header.cast()) };
        Tail::new(block).map_err(|_| unreachable!("a fresh block is unique and writable"))
    }

    fn allocate_starved(&self, size: usize) -> Result<NonNull<PoolBlock>, AllocError> {
        let shared = &self.owner.0;
        // Left armed also when the second try succeeds, for `collect_and_watch`: that costs one ring at most.
        shared.starved.arm();
        // SAFETY: as in `allocate`.
        unsafe { shared.with_state(|state| state.allocate(size, shared)) }
    }

    /// Takes in the blocks that other threads have given back.
    pub fn collect(&self) {
        let shared = &self.owner.0;
        if !shared.returns.is_empty() {
            // SAFETY: as in `allocate`.
            unsafe { shared.with_state(|state| state.collect(&shared.returns)) }
        }
    }

    /// As [`collect`](Self::collect), and has the bell rung when another thread gives the next block back: for an
    /// owner that waits for memory to become free before it goes on.
    pub fn collect_and_watch(&self) {
        // First: a block that this look misses is one whose dropper finds the flag.
        self.owner.0.starved.arm();
        self.collect();
    }

    /// How much memory the pool has now.
    #[must_use]
    pub fn usage(&self) -> PoolUsage {
        // SAFETY: as in `allocate`.
        unsafe { self.owner.0.with_state(|state| state.usage()) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let shared = &self.0;
        // SAFETY: `Owner` lives in an Rc that is not Send, so this is the owner's thread, and its last use.
        unsafe { shared.with_state(|state| state.close(&shared.returns)) }
    }
}

impl fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockPool").field("usage", &self.usage()).finish()
    }
}
