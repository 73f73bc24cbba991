//! The owner's side of a pool: free blocks by size, and the slabs they lie in.

use std::ptr::NonNull;

use super::slab::{OVERSIZE, PoolBlock, Shape, Slab, slab_of};
use super::{CLASSES, PoolUsage, Shared};
use crate::buffer::AllocError;
use crate::handover::PushList;
use crate::sync::Arc;

/// Oversize mappings are rounded up to this many bytes.
const PAGE: usize = 4096;

#[derive(Default)]
struct Class {
    /// Slabs with at least one free block.
    available: Vec<NonNull<Slab>>,
    /// How many of them are wholly free.
    idle: usize,
}

/// What only the owner's thread touches.
pub(super) struct State {
    usage: PoolUsage,
    classes: [Class; CLASSES.len() + 1],
    slabs: Vec<NonNull<Slab>>,
    closed: bool,
}

impl State {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            usage: PoolUsage { limit, ..PoolUsage::default() },
            classes: Default::default(),
            slabs: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn usage(&self) -> PoolUsage {
        self.usage
    }

    /// A block of at least `size` bytes with a count of one.
    pub(super) fn allocate(
        &mut self,
        size: usize,
        shared: &Arc<Shared>,
    ) -> Result<NonNull<PoolBlock>, AllocError> {
        let class = CLASSES.iter().position(|class| size <= *class).unwrap_or(OVERSIZE);
        if self.classes[class].available.is_empty() {
            self.collect(&shared.returns);
        }
        if self.classes[class].available.is_empty() {
            self.grow(class, size, shared)?;
        }
        Ok(self.take(class))
    }

    fn take(&mut self, class: usize) -> NonNull<PoolBlock> {
        let list = &mut self.classes[class];
        let slab = *list.available.last().unwrap_or_else(|| unreachable!("the class was refilled"));
        // SAFETY: slabs in the list are alive, and this is the owner's thread.
        let block =
            unsafe { Slab::take(slab) }.unwrap_or_else(|| unreachable!("an available slab has a free block"));
        // SAFETY: as above.
        let free = unsafe { Slab::with_list(slab, |list| list.free) };
        // SAFETY: as above.
        let shape = unsafe { Slab::shape(slab) };
        if free + 1 == shape.count {
            list.idle -= 1;
        }
        if free == 0 {
            list.available.pop();
        }
        self.usage.free -= shape.size;
        block
    }

    fn grow(&mut self, class: usize, size: usize, shared: &Arc<Shared>) -> Result<(), AllocError> {
        let too_large = AllocError::TooLarge { asked: size };
        let size = match CLASSES.get(class) {
            Some(size) => *size,
            None => size
                .checked_next_multiple_of(PAGE)
                .filter(|n| isize::try_from(*n).is_ok())
                .ok_or(too_large)?,
        };
        let bytes = if class == OVERSIZE { size } else { size.max(super::SLAB) };
        if bytes > self.usage.limit.saturating_sub(self.usage.mapped) {
            self.trim();
        }
        if bytes > self.usage.limit.saturating_sub(self.usage.mapped) {
            return Err(AllocError::Exhausted { limit: self.usage.limit });
        }
        let slab = Slab::map(size, class, shared)?;
        let index = self.slabs.len();
        // SAFETY: the slab is new and this is the owner's thread.
        unsafe { Slab::with_list(slab, |list| list.index = index) };
        // SAFETY: as above.
        let bytes = unsafe { Slab::shape(slab) }.bytes();
        self.slabs.push(slab);
        self.classes[class].available.push(slab);
        self.classes[class].idle += 1;
        self.usage.mapped += bytes;
        self.usage.free += bytes;
        Ok(())
    }

    /// Takes back a block that was dropped on the owner's thread, or that came home from another.
    pub(super) fn put_back(&mut self, block: NonNull<PoolBlock>) {
        let slab = slab_of(block);
        // SAFETY: the block keeps the slab alive, and this is the owner's thread.
        let free = unsafe { Slab::put(slab, block) };
        // SAFETY: as above.
        let Shape { class, count, size } = unsafe { Slab::shape(slab) };
        self.usage.free += size;
        let list = &mut self.classes[class];
        if free == 1 {
            list.available.push(slab);
        }
        if free == count {
            list.idle += 1;
            if list.idle > 1 || class == OVERSIZE {
                self.free(slab);
            }
        }
    }

    /// Unmaps the wholly free slabs that are kept for quick reuse: memory is short.
    fn trim(&mut self) {
        // SAFETY: slabs in the lists are alive, and this is the owner's thread.
        let free = |slab: &NonNull<Slab>| unsafe { Slab::with_list(*slab, |list| list.free) };
        // SAFETY: as above.
        let count = |slab: &NonNull<Slab>| unsafe { Slab::shape(*slab) }.count;
        let available = self.classes.iter().flat_map(|class| &class.available).copied();
        let idle: Vec<_> = available.filter(|slab| free(slab) == count(slab)).collect();
        for slab in idle {
            self.free(slab);
        }
    }

    /// Unmaps a slab that is wholly free.
    fn free(&mut self, slab: NonNull<Slab>) {
        // SAFETY: the slab is alive, and this is the owner's thread.
        let shape = unsafe { Slab::shape(slab) };
        // SAFETY: as above.
        let index = unsafe { Slab::with_list(slab, |list| list.index) };
        let list = &mut self.classes[shape.class];
        list.idle -= 1;
        list.available.retain(|other| *other != slab);
        self.slabs.swap_remove(index);
        if let Some(moved) = self.slabs.get(index) {
            // SAFETY: slabs in the list are alive, and this is the owner's thread.
            unsafe { Slab::with_list(*moved, |list| list.index = index) };
        }
        self.usage.mapped -= shape.bytes();
        self.usage.free -= shape.bytes();
        // SAFETY: this is the owner's thread, and the slab has just left all lists.
        unsafe { Slab::settle_owner(slab) };
    }

    /// Takes in what other threads have given back.
    pub(super) fn collect(&mut self, returns: &PushList<PoolBlock>) {
        for block in returns.take_all() {
            self.put_back(block);
        }
    }

    /// Closes the pool: from now on whoever drops a block settles it.
    pub(super) fn close(&mut self, returns: &PushList<PoolBlock>) {
        for block in returns.close() {
            self.put_back(block);
        }
        self.closed = true;
        for slab in std::mem::take(&mut self.slabs) {
            // SAFETY: this is the owner's thread, which has not answered for the slab yet, since that is in the list;
            // `closed` keeps blocks from being put back or taken.
            unsafe { Slab::settle_owner(slab) };
        }
        self.classes = Default::default();
    }
}
