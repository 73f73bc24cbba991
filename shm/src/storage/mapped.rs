//! The storage that ships: mapped memory behind raw pointers.
#![expect(unsafe_code, reason = "mapped memory is reached through raw pointers alone")]
#![expect(clippy::disallowed_types, reason = "the one place with atomics in mapped memory")]

use std::fmt;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU32;

use linkpoll::sync::{Arc, Ordering, fence};

use super::copy::{LINE, copy_racing, fetch};
use super::{OwnWord, PeerWord, Storage, Word};
use crate::layout;

/// The mapped memory of a session: a region that we write, and one that the peer writes.
///
/// # Safety
/// * Both pointers are aligned to a page and stay valid, with their lengths, as long as the value lives.
/// * `own` is mapped for reading and writing, and nobody writes there but through [`Mapped`].
/// * `peer` is mapped for reading. Its bytes may change at any time; its pages never vanish (a seal forbids to shrink).
/// * The two do not overlap, unless both are one region (a session with oneself, in tests).
pub unsafe trait Regions: Send + Sync + 'static {
    /// Our own region.
    fn own(&self) -> (NonNull<u8>, usize);

    /// The peer's.
    fn peer(&self) -> (NonNull<u8>, usize);
}

/// A ring is of no possible size, or its region too small for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGeometry;

impl fmt::Display for BadGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ring is of no possible size, or does not fit into its region")
    }
}

impl std::error::Error for BadGeometry {}

/// A handle of the memory of a session. The memory stays mapped as long as one of them lives.
pub struct Mapped<R> {
    own: NonNull<u8>,
    peer: NonNull<u8>,
    own_capacity: usize,
    peer_capacity: usize,
    regions: Arc<R>,
}

// SAFETY: the pointers are into `regions`, which is Send and Sync; shared words are atomic, and of everything else each
// byte has one writer (`Storage::alias`).
unsafe impl<R: Regions> Send for Mapped<R> {}

impl<R: Regions> Mapped<R> {
    /// The first handle of these regions, with rings of these sizes in bytes.
    ///
    /// # Errors
    /// When a ring is of no possible size, or does not fit into its region.
    pub fn new(regions: R, own_capacity: usize, peer_capacity: usize) -> Result<Self, BadGeometry> {
        let ((own, own_len), (peer, peer_len)) = (regions.own(), regions.peer());
        for (capacity, len) in [(own_capacity, own_len), (peer_capacity, peer_len)] {
            let possible = capacity.is_power_of_two()
                && (layout::LEAST_CAPACITY..=layout::MOST_CAPACITY).contains(&capacity);
            if !possible || len < layout::RING + capacity {
                return Err(BadGeometry);
            }
        }
        Ok(Self { own, peer, own_capacity, peer_capacity, regions: Arc::new(regions) })
    }

    /// What keeps the memory mapped.
    #[must_use]
    pub fn regions(&self) -> &Arc<R> {
        &self.regions
    }

    #[inline(always)]
    fn own_at(&self, offset: usize) -> *mut u8 {
        // SAFETY: all callers stay inside of the region, whose length was checked in `new`.
        unsafe { self.own.as_ptr().add(offset) }
    }

    #[inline(always)]
    fn peer_at(&self, offset: usize) -> *const u8 {
        // SAFETY: as above.
        unsafe { self.peer.as_ptr().cast_const().add(offset) }
    }
}

/// A word of our own region.
#[derive(Debug)]
pub struct MappedOwn<'a>(&'a AtomicU32);

impl OwnWord<u32> for MappedOwn<'_> {
    #[inline(always)]
    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value.to_le(), order);
    }
}

/// A word of the peer's region.
#[derive(Debug)]
pub struct MappedPeer<'a>(&'a AtomicU32);

impl PeerWord<u32> for MappedPeer<'_> {
    /// Of atomic operations, only relaxed loads of small words are promised to work where memory is mapped for reading
    /// alone (`std::sync::atomic`, "Atomic accesses to read-only memory"); a fence makes of one what was asked for.
    #[inline(always)]
    fn load(&self, order: Ordering) -> u32 {
        // ORDERING: Relaxed: what more is asked for, the fence below adds.
        let value = self.0.load(Ordering::Relaxed);
        if order != Ordering::Relaxed {
            // ORDERING: Acquire fence, which is at least an Acquire load; partners are those of the caller.
            fence(Ordering::Acquire);
        }
        u32::from_le(value)
    }
}

impl<R: Regions> Storage for Mapped<R> {
    type Index = u32;
    type Own<'a> = MappedOwn<'a>;
    type Peer<'a> = MappedPeer<'a>;

    #[inline(always)]
    fn own_capacity(&self) -> usize {
        self.own_capacity
    }

    #[inline(always)]
    fn peer_capacity(&self) -> usize {
        self.peer_capacity
    }

    #[inline(always)]
    fn releases(&self) -> usize {
        layout::RELEASES
    }

    #[inline(always)]
    fn own(&self, word: Word) -> MappedOwn<'_> {
        // SAFETY: the word is inside of the region, aligned, mapped as long as `self`, and only used atomically.
        MappedOwn(unsafe { AtomicU32::from_ptr(self.own_at(word.offset()).cast()) })
    }

    #[inline(always)]
    fn peer(&self, word: Word) -> MappedPeer<'_> {
        // SAFETY: as above. It is mapped for reading alone, so this is no `from_ptr`; a `MappedPeer` only loads.
        MappedPeer(unsafe { &*self.peer_at(word.offset()).cast::<AtomicU32>() })
    }

    #[inline(always)]
    fn put_header(&mut self, at: usize, header: u64) {
        assert!(at < self.own_capacity && at.is_multiple_of(8), "a header inside of the ring");
        // SAFETY: 8 bytes at a multiple of 8 are inside of the ring, whose size is one too; nobody else writes there.
        unsafe { self.own_at(layout::RING + at).cast::<u64>().write(header.to_le()) }
    }

    #[inline(always)]
    fn ring_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        assert!(at <= self.own_capacity && len <= self.own_capacity - at, "bytes inside of the ring");
        // SAFETY: they are inside of the ring and initialised (the kernel zeroes new memory), and this handle alone
        // writes there (`alias`), as long as it is borrowed. That the peer reads them through a mapping of its own is
        // outside of this program.
        unsafe { slice::from_raw_parts_mut(self.own_at(layout::RING + at), len) }
    }

    #[inline(always)]
    fn anticipate(&self, at: usize, len: usize) {
        let end = (at + len).min(self.peer_capacity);
        let mut line = at / LINE * LINE;
        while line < end {
            fetch(self.peer_at(layout::RING + line));
            line += LINE;
        }
    }

    #[inline(always)]
    fn header(&self, at: usize) -> u64 {
        assert!(at < self.peer_capacity && at.is_multiple_of(8), "a header inside of the ring");
        // SAFETY: 8 bytes at a multiple of 8 are inside of the ring; a volatile read may race with the peer.
        u64::from_le(unsafe { self.peer_at(layout::RING + at).cast::<u64>().read_volatile() })
    }

    #[inline(always)]
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        let len = into.len();
        assert!(at <= self.peer_capacity && len <= self.peer_capacity - at, "bytes inside of the ring");
        // SAFETY: the source is inside of the ring and stays mapped; the target is borrowed for writing.
        unsafe { copy_racing(self.peer_at(layout::RING + at), into.as_mut_ptr(), len) }
    }

    #[inline]
    fn put_release(&mut self, at: usize, ticket: u32) {
        assert!(at < layout::RELEASES, "an entry of the release ring");
        // SAFETY: the entry is inside of the region, aligned, and written by this handle alone (`alias`).
        unsafe { self.own_at(layout::RELEASE_RING + at * 4).cast::<u32>().write(ticket.to_le()) }
    }

    #[inline]
    fn release(&self, at: usize) -> u32 {
        assert!(at < layout::RELEASES, "an entry of the release ring");
        // SAFETY: the entry is inside of the region and aligned; a volatile read may race with the peer.
        u32::from_le(unsafe { self.peer_at(layout::RELEASE_RING + at * 4).cast::<u32>().read_volatile() })
    }

    unsafe fn alias(&self) -> Self {
        Self { regions: Arc::clone(&self.regions), ..*self }
    }
}

impl<R> fmt::Debug for Mapped<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("own_capacity", &self.own_capacity)
            .field("peer_capacity", &self.peer_capacity)
            .finish_non_exhaustive()
    }
}
