//! The storage of the proofs: both regions in memory that the model checker watches.
//!
//! The words are atomics of `sync`. The bytes lie in ordinary memory, with a witness for each 8 of a ring and for each
//! release, so that bytes that are read before they are published, or overwritten before they are consumed, are
//! reported. Either side's handle can store anything in its words and bytes, as a hostile peer would.
#![expect(unsafe_code, reason = "as in shared memory, both sides reach the bytes through raw pointers")]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use linkpoll::sync::{Arc, AtomicUsize, Ordering, Witness};

use super::{Index, OwnWord, PeerWord, Storage, Word};

/// One side's region.
struct Region {
    words: [AtomicUsize; Word::ALL.len()],
    ring: Bytes,
    releases: Bytes,
}

/// Bytes with a witness for each `unit` of them.
struct Bytes {
    first: NonNull<u64>,
    len: usize,
    unit: usize,
    witness: Witness,
}

// SAFETY: who may touch which byte when is what the proofs are about.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    fn new(len: usize, unit: usize) -> Self {
        let words = vec![0_u64; len.div_ceil(8)].into_boxed_slice();
        let first = NonNull::from(Box::leak(words)).cast();
        Self { first, len, unit, witness: Witness::new(len.div_ceil(unit)) }
    }

    fn at(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at <= self.len && len <= self.len - at, "{len} bytes at {at} of {}", self.len);
        // SAFETY: `at` is inside, or one past the end.
        unsafe { self.first.as_ptr().cast::<u8>().add(at) }
    }

    fn units(&self, at: usize, len: usize) -> (usize, usize) {
        let first = at / self.unit;
        (first, (at + len).div_ceil(self.unit) - first)
    }

    #[track_caller]
    #[expect(clippy::mut_from_ref, reason = "as in shared memory")]
    fn write(&self, at: usize, len: usize) -> &mut [u8] {
        let (first, units) = self.units(at, len);
        self.witness.write(first, units);
        // SAFETY: the bytes are inside and initialised; the witness has reported anybody else who looks at them.
        unsafe { slice::from_raw_parts_mut(self.at(at, len), len) }
    }

    #[track_caller]
    fn read(&self, at: usize, into: &mut [u8]) {
        let (first, units) = self.units(at, into.len());
        self.witness.read(first, units);
        // SAFETY: the bytes are inside and initialised; the witness has reported anybody who writes there.
        into.copy_from_slice(unsafe { slice::from_raw_parts(self.at(at, into.len()), into.len()) });
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let words = std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len.div_ceil(8));
        // SAFETY: the box was leaked in `new`.
        drop(unsafe { Box::from_raw(words) });
    }
}

/// A side's handle of the two regions.
pub(crate) struct Witnessed<I> {
    regions: Arc<[Region; 2]>,
    own: usize,
    index: PhantomData<I>,
}

/// How large the proofs want things, and where all counters begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<I> {
    pub(crate) capacity: usize,
    pub(crate) releases: usize,
    pub(crate) start: I,
}

impl<I: Index> Witnessed<I> {
    /// The two sides of a session.
    pub(crate) fn pair(plan: Plan<I>) -> (Self, Self) {
        let region = || Region {
            words: Word::ALL.map(|_| AtomicUsize::new(plan.start.number())),
            ring: Bytes::new(plan.capacity, 8),
            releases: Bytes::new(plan.releases * 4, 4),
        };
        let regions = Arc::new([region(), region()]);
        let side = |own| Self { regions: Arc::clone(&regions), own, index: PhantomData };
        (side(0), side(1))
    }

    /// The other side's handle, for a hostile peer that keeps its own.
    pub(crate) fn opposite(&self) -> Self {
        Self { regions: Arc::clone(&self.regions), own: 1 - self.own, index: PhantomData }
    }

    fn mine(&self) -> &Region {
        &self.regions[self.own]
    }

    fn peers(&self) -> &Region {
        &self.regions[1 - self.own]
    }
}

pub(crate) struct WitnessedWord<'a, I>(&'a AtomicUsize, PhantomData<I>);

impl<I: Index> OwnWord<I> for WitnessedWord<'_, I> {
    #[track_caller]
    fn store(&self, value: I, order: Ordering) {
        self.0.store(value.number(), order);
    }
}

impl<I: Index> PeerWord<I> for WitnessedWord<'_, I> {
    #[track_caller]
    fn load(&self, order: Ordering) -> I {
        I::of(self.0.load(order))
    }
}

fn place(word: Word) -> usize {
    Word::ALL.iter().position(|known| *known == word).expect("all words are in ALL")
}

impl<I: Index> Storage for Witnessed<I> {
    type Index = I;
    type Own<'a> = WitnessedWord<'a, I>;
    type Peer<'a> = WitnessedWord<'a, I>;

    fn own_capacity(&self) -> usize {
        self.mine().ring.len
    }

    fn peer_capacity(&self) -> usize {
        self.peers().ring.len
    }

    fn releases(&self) -> usize {
        self.mine().releases.len / 4
    }

    fn own(&self, word: Word) -> WitnessedWord<'_, I> {
        WitnessedWord(&self.mine().words[place(word)], PhantomData)
    }

    fn peer(&self, word: Word) -> WitnessedWord<'_, I> {
        WitnessedWord(&self.peers().words[place(word)], PhantomData)
    }

    #[track_caller]
    fn put_header(&mut self, at: usize, header: u64) {
        assert!(at.is_multiple_of(8), "a header at a multiple of 8");
        self.mine().ring.write(at, 8).copy_from_slice(&header.to_le_bytes());
    }

    #[track_caller]
    fn ring_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        self.mine().ring.write(at, len)
    }

    #[track_caller]
    fn header(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(8), "a header at a multiple of 8");
        let mut bytes = [0; 8];
        self.peers().ring.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[track_caller]
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        self.peers().ring.read(at, into);
    }

    #[track_caller]
    fn put_release(&mut self, at: usize, ticket: u32) {
        self.mine().releases.write(at * 4, 4).copy_from_slice(&ticket.to_le_bytes());
    }

    #[track_caller]
    fn release(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.peers().releases.read(at * 4, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    unsafe fn alias(&self) -> Self {
        Self { regions: Arc::clone(&self.regions), own: self.own, index: PhantomData }
    }
}
