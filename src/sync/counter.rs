//! Counters with one writer and any number of readers.

use super::{AtomicU64, Ordering};

/// A counter that one thread increments and any thread reads.
///
/// An increment is a load and a store, not a read-modify-write: with a single writer nothing can come between.
/// A reader sees a value the counter had; two counters are not read at the same instant.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Default for Counter {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Counter {
    /// Adds `n`. To be called by the one writer only; a second writer would lose counts, but not memory safety.
    #[inline]
    pub fn add(&self, n: u64) {
        // ORDERING: Relaxed, no partner: the value is all there is to see.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Subtracts `n`, for counters that are gauges. The same rule as for [`add`](Self::add).
    #[inline]
    pub fn sub(&self, n: u64) {
        // ORDERING: Relaxed, as in `add`.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Sets the value, for gauges that are measured elsewhere. The same rule as for [`add`](Self::add).
    #[inline]
    pub fn set(&self, n: u64) {
        // ORDERING: Relaxed, as in `add`.
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value at some recent moment.
    #[must_use]
    pub fn get(&self) -> u64 {
        // ORDERING: Relaxed, as in `add`.
        self.0.load(Ordering::Relaxed)
    }
}
