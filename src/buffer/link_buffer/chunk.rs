//! A chunk: some slots for segments, and a link.
#![expect(unsafe_code, reason = "cells that one side writes and the other reads, in turn")]

use std::ptr;

use crate::buffer::Segment;
use crate::sync::{UnsafeCell, shrink};

/// Slots in a chunk.
pub(super) const SLOTS: usize = shrink(15, 1);

pub(super) struct Chunk {
    slots: [UnsafeCell<Option<Segment>>; SLOTS],
    next: UnsafeCell<*mut Self>,
    /// Bytes published up to the end of this chunk; the writer's.
    end: UnsafeCell<u64>,
}

impl Chunk {
    pub(super) fn allocate() -> *mut Self {
        Box::into_raw(Box::new(Self {
            slots: std::array::from_fn(|_| UnsafeCell::new(None)),
            next: UnsafeCell::new(ptr::null_mut()),
            end: UnsafeCell::new(0),
        }))
    }

    /// Frees a chunk with what is in it, and answers the next one.
    ///
    /// # Safety
    /// The chunk came from [`allocate`](Self::allocate), and nobody else touches it any more.
    pub(super) unsafe fn free(chunk: *mut Self) -> *mut Self {
        // SAFETY: the caller's promise.
        let chunk = unsafe { Box::from_raw(chunk) };
        chunk.next.with(|next| {
            // SAFETY: the box is ours alone.
            unsafe { *next }
        })
    }

    /// Puts a segment into a slot, or takes it out.
    ///
    /// # Safety
    /// The chunk is in the list, and the protocol gives this slot to the calling side now.
    pub(super) unsafe fn exchange(
        chunk: *mut Self,
        slot: usize,
        segment: Option<Segment>,
    ) -> Option<Segment> {
        // SAFETY: the chunk is in the list, so it is alive; its cells are shared.
        let chunk = unsafe { &*chunk };
        chunk.slots[slot].with_mut(|place| {
            // SAFETY: the caller's promise.
            std::mem::replace(unsafe { &mut *place }, segment)
        })
    }

    /// Follows the link.
    ///
    /// # Safety
    /// The chunk is in the list, and the protocol gives the link to the calling side now.
    pub(super) unsafe fn next(chunk: *mut Self) -> *mut Self {
        // SAFETY: the chunk is in the list, so it is alive; its cells are shared.
        let this = unsafe { &*chunk };
        this.next.with(|next| {
            // SAFETY: the caller's promise.
            unsafe { *next }
        })
    }

    /// Sets the link.
    ///
    /// # Safety
    /// As [`next`](Self::next).
    pub(super) unsafe fn set_next(chunk: *mut Self, next: *mut Self) {
        // SAFETY: the chunk is in the list, so it is alive; its cells are shared.
        let this = unsafe { &*chunk };
        this.next.with_mut(|link| {
            // SAFETY: the caller's promise.
            unsafe { *link = next }
        });
    }

    /// The bytes published up to the end of the chunk.
    ///
    /// # Safety
    /// The chunk is in the list, and the caller is the writer.
    pub(super) unsafe fn end(chunk: *mut Self) -> u64 {
        // SAFETY: the chunk is in the list, so it is alive; its cells are shared.
        let this = unsafe { &*chunk };
        this.end.with(|end| {
            // SAFETY: the caller's promise.
            unsafe { *end }
        })
    }

    /// Notes the bytes published up to the end of the chunk.
    ///
    /// # Safety
    /// As [`end`](Self::end).
    pub(super) unsafe fn set_end(chunk: *mut Self, bytes: u64) {
        // SAFETY: the chunk is in the list, so it is alive; its cells are shared.
        let this = unsafe { &*chunk };
        this.end.with_mut(|end| {
            // SAFETY: the caller's promise.
            unsafe { *end = bytes }
        });
    }
}
