//! A slab: one mapping, cut into blocks of one size.

use std::io;
use std::ptr::{self, NonNull};

use super::{CLASSES, SLAB, Shared};
use crate::buffer::{AllocError, Header, Origin};
use crate::handover::Linked;
use crate::sync::{Arc, AtomicUsize, Ordering, ThreadToken, UnsafeCell};
use crate::sys::{self, Map};

static POOL: Origin = Origin { name: "pool", writable: true, exchange_pages: Some(exchange_pages), release };

/// Blocks that are not whole pages: those of the smallest sizes, where pages are larger.
static PARTS: Origin = Origin { name: "pool", writable: true, exchange_pages: None, release };

/// The index that stands for a size beyond every class.
pub(super) const OVERSIZE: usize = CLASSES.len();

/// The head of a block of the pool.
#[repr(C)]
pub(super) struct PoolBlock {
    header: Header,
    next: UnsafeCell<*mut Self>,
    slab: NonNull<Slab>,
}

// SAFETY: `link` always returns `next`. The list uses it while the block is on the return list, the slab while it
// is on the free list, and it is never on both.
unsafe impl Linked for PoolBlock {
    fn link(node: &Self) -> &UnsafeCell<*mut Self> {
        &node.next
    }
}

/// One mapping and the heads of its blocks.
pub(super) struct Slab {
    shape: Shape,
    shared: Arc<Shared>,
    /// Shares that nobody has answered for yet: one for each block, and one for the owner, which keeps the slab in
    /// place while the owner looks at it. Counts down once the pool is closed.
    remaining: AtomicUsize,
    /// INVARIANT: touched by the owner's thread only.
    list: UnsafeCell<FreeList>,
    /// The heads of the blocks: a leaked boxed slice of `count`, so that each is reached by a pointer of its own.
    blocks: NonNull<PoolBlock>,
    _map: Map,
}

/// What a slab is cut into.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The index of the size among the classes.
    pub(super) class: usize,
    /// Blocks, and bytes of each.
    pub(super) count: usize,
    pub(super) size: usize,
}

impl Shape {
    pub(super) fn bytes(self) -> usize {
        self.count * self.size
    }
}

/// The free blocks of a slab, linked through themselves.
pub(super) struct FreeList {
    head: *mut PoolBlock,
    pub(super) free: usize,
    /// Where the slab stands in the owner's list of slabs.
    pub(super) index: usize,
}

impl Slab {
    /// Maps a slab of blocks of at least `size` bytes. All of them are free.
    pub(super) fn map(size: usize, class: usize, shared: &Arc<Shared>) -> Result<NonNull<Self>, AllocError> {
        let count = if class == OVERSIZE { 1 } else { (SLAB / size).max(1) };
        let bytes = size * count;
        let mut map = Map::new(bytes).map_err(|_| AllocError::OutOfMemory { asked: bytes })?;
        let start = map.start();
        let origin = if sys::is_whole_pages(size) { &POOL } else { &PARTS };
        let slab = NonNull::from(Box::leak(Box::new(Self {
            shape: Shape { class, count, size },
            shared: Arc::clone(shared),
            remaining: AtomicUsize::new(count + 1),
            list: UnsafeCell::new(FreeList { head: ptr::null_mut(), free: 0, index: 0 }),
            blocks: NonNull::dangling(),
            _map: map,
        })));
        let blocks: Box<[PoolBlock]> = (0..count)
            .map(|index| {
                // SAFETY: `index < count`, so the block lies inside of the mapping.
                let bytes = unsafe { start.add(index * size) };
                PoolBlock {
                    header: Header::new(origin, bytes, size),
                    next: UnsafeCell::new(ptr::null_mut()),
                    slab,
                }
            })
            .collect();
        let blocks = NonNull::from(Box::leak(blocks)).cast::<PoolBlock>();
        // SAFETY: the slab was leaked just now, and nobody else knows it.
        unsafe { (*slab.as_ptr()).blocks = blocks };
        for index in (0..count).rev() {
            // SAFETY: `index < count` blocks were made above.
            let block = unsafe { blocks.add(index) };
            // SAFETY: the slab is new, so this thread is alone with it.
            unsafe { Self::put(slab, block) };
        }
        Ok(slab)
    }

    /// What the slab is cut into.
    ///
    /// # Safety
    /// The slab is alive.
    pub(super) unsafe fn shape(slab: NonNull<Self>) -> Shape {
        // SAFETY: the caller's promise.
        unsafe { slab.as_ref() }.shape
    }

    /// Runs `f` on the free list.
    ///
    /// # Safety
    /// The slab is alive and the calling thread is the pool's owner.
    pub(super) unsafe fn with_list<R>(slab: NonNull<Self>, f: impl FnOnce(&mut FreeList) -> R) -> R {
        // SAFETY: the caller says that the slab is alive.
        unsafe { slab.as_ref() }.list.with_mut(|list| {
            // SAFETY: only the owner's thread comes here, and `f` does not call back.
            f(unsafe { &mut *list })
        })
    }

    /// Puts a block on the free list and answers how many are free now.
    ///
    /// # Safety
    /// As [`with_list`](Self::with_list); the block is one of this slab, and in use nowhere.
    pub(super) unsafe fn put(slab: NonNull<Self>, block: NonNull<PoolBlock>) -> usize {
        let link = link_of(&block);
        let put = |list: &mut FreeList| {
            link.with_mut(|next| {
                // SAFETY: the block is in use nowhere, so its link is the slab's.
                unsafe { *next = list.head }
            });
            list.head = block.as_ptr();
            list.free += 1;
            list.free
        };
        // SAFETY: the caller's promise.
        unsafe { Self::with_list(slab, put) }
    }

    /// Takes a block off the free list, ready for a new life.
    ///
    /// # Safety
    /// As [`with_list`](Self::with_list).
    pub(super) unsafe fn take(slab: NonNull<Self>) -> Option<NonNull<PoolBlock>> {
        let take = |list: &mut FreeList| {
            let block = NonNull::new(list.head)?;
            list.head = link_of(&block).with(|next| {
                // SAFETY: the block is on the free list, so its link is the slab's.
                unsafe { *next }
            });
            list.free -= 1;
            Some(block)
        };
        // SAFETY: the caller's promise.
        let block = unsafe { Self::with_list(slab, take) }?;
        // SAFETY: the slab keeps its blocks in place.
        let header = unsafe { &block.as_ref().header };
        // SAFETY: a block that was on the free list is in use nowhere.
        unsafe { header.renew() };
        Some(block)
    }

    /// Answers for the owner and for the blocks on the free list, and frees the slab if no block is out.
    ///
    /// # Safety
    /// As [`with_list`](Self::with_list). From now on no block is put on the free list or taken off it, and the owner
    /// does not touch the slab again.
    pub(super) unsafe fn settle_owner(slab: NonNull<Self>) {
        // SAFETY: the caller's promise.
        let free = unsafe { Self::with_list(slab, |list| list.free) };
        // SAFETY: the free blocks are in use nowhere and stay where they are, so nobody else answers for them.
        unsafe { Self::settle(slab, free + 1) }
    }

    /// Answers for one block of a slab whose pool is closed, and frees the slab if that was the last share.
    ///
    /// # Safety
    /// The block is in use nowhere, and nobody has answered for it before.
    unsafe fn settle_block(slab: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::settle(slab, 1) }
    }

    /// # Safety
    /// Nobody has answered for these shares before, or uses what they stand for.
    unsafe fn settle(slab: NonNull<Self>, shares: usize) {
        // SAFETY: the shares to answer for keep the slab alive.
        let this = unsafe { slab.as_ref() };
        // ORDERING: AcqRel: Release gives this thread's use of the slab to whoever frees it; Acquire takes in the use
        // of all who answered before. The partner is the same operation in other threads.
        if this.remaining.fetch_sub(shares, Ordering::AcqRel) == shares {
            // SAFETY: every share is answered for, so nobody can reach the slab, which was leaked as a box.
            drop(unsafe { Box::from_raw(slab.as_ptr()) });
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let blocks = NonNull::slice_from_raw_parts(self.blocks, self.shape.count);
        // SAFETY: the slice was leaked as a box in `map`, and every block is settled.
        let blocks = unsafe { Box::from_raw(blocks.as_ptr()) };
        // For the model checker: unmapping ends the bytes, and the owner has touched the list for the last time.
        blocks.iter().for_each(|block| block.header.retire());
        self.list.with_mut(|_| ());
    }
}

/// # Safety
/// As for [`Origin::exchange_pages`].
unsafe fn exchange_pages(header: NonNull<Header>) -> io::Result<()> {
    // SAFETY: the caller's reference keeps the block alive.
    let (start, len) = unsafe { header.as_ref() }.range();
    // SAFETY: the bytes are a part of the slab's anonymous mapping, and the caller is alone with them; zeroes are as
    // good as any other bytes.
    unsafe { sys::exchange_pages(start, len) }
}

/// # Safety
/// As for [`Origin::release`]; the header is the first field of a `PoolBlock`.
unsafe fn release(header: NonNull<Header>) {
    let block = header.cast::<PoolBlock>();
    // SAFETY: a block that is being released keeps its slab alive.
    let slab = unsafe { block.as_ref() }.slab;
    // SAFETY: as above.
    let shared = &unsafe { slab.as_ref() }.shared;
    if shared.owner == ThreadToken::current() {
        // SAFETY: this is the owner's thread.
        if unsafe { shared.with_state(|state| state.is_closed()) } {
            // SAFETY: the pool is closed, and this block was not among those it answered for.
            unsafe { Slab::settle_block(slab) };
        } else {
            // SAFETY: this is the owner's thread; the pool is open, so it keeps `shared` alive.
            unsafe { shared.with_state(|state| state.put_back(block)) };
        }
        return;
    }
    // A reference of our own: once the block is pushed, the owner may free slab and pool at any moment.
    let shared = Arc::clone(shared);
    // SAFETY: the block is valid and ours alone.
    if unsafe { shared.returns.push(block) }.is_err() {
        // SAFETY: the pool is closed, and this block was not among those it answered for.
        unsafe { Slab::settle_block(slab) };
        return;
    }
    if shared.starved.take()
        && let Some(bell) = &shared.bell
    {
        bell.ring();
    }
}

/// The link of a block that the caller holds.
fn link_of(block: &NonNull<PoolBlock>) -> &UnsafeCell<*mut PoolBlock> {
    // SAFETY: blocks live as long as their slab, and the caller holds one.
    PoolBlock::link(unsafe { block.as_ref() })
}

/// The slab that a block belongs to.
pub(super) fn slab_of(block: NonNull<PoolBlock>) -> NonNull<Slab> {
    // SAFETY: blocks live as long as their slab, and the caller holds one.
    unsafe { block.as_ref() }.slab
}
