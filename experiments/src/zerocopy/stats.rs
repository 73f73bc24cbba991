//! What a lending path has done.

use std::time::Duration;

use linkpoll::sync::{Arc, Counter};

use crate::LentMemory;

/// Counters of one driver. Its thread counts, anyone reads.
#[derive(Debug, Default)]
pub struct LendingStats {
    /// Calls that lent memory.
    pub lends: Counter,
    /// Bytes lent by them.
    pub lent_bytes: Counter,
    /// Of those, bytes that came back, and bytes that were given up at the end of a connection.
    pub returned_bytes: Counter,
    /// See `returned_bytes`.
    pub given_up_bytes: Counter,
    /// Bytes of large pieces that went by copy: lending was off, refused, or full.
    pub copied_bytes: Counter,
    /// Notifications, merged ones once.
    pub notifications: Counter,
    /// Of those, the ones that say that the kernel has copied after all.
    pub copied: Counter,
    /// Notifications of what was not lent.
    pub strays: Counter,
    /// Sends that the kernel refused to take by reference for want of memory (`ENOBUFS`), and that were copied.
    pub refusals: Counter,
    /// Blocks that were given up, and wait for their last holder to get fresh pages; and those that have got them.
    pub quarantined: Counter,
    /// See `quarantined`.
    pub exchanged: Counter,
    /// Nanoseconds between lending and return, summed over all calls; and the longest.
    pub release_nanoseconds: Counter,
    /// See `release_nanoseconds`.
    pub longest_release_nanoseconds: Counter,
    /// The same in the form that all lending drivers have.
    pub memory: Arc<LentMemory>,
}

impl LendingStats {
    /// Bytes that the kernel has now.
    #[must_use]
    pub fn lent_now(&self) -> u64 {
        self.lent_bytes.get() - self.returned_bytes.get() - self.given_up_bytes.get()
    }

    /// Blocks that wait for their last holder.
    #[must_use]
    pub fn quarantined_now(&self) -> u64 {
        self.quarantined.get() - self.exchanged.get()
    }

    pub(super) fn returned(&self, bytes: usize, after: Duration) {
        self.returned_bytes.add(bytes as u64);
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.release_nanoseconds.add(after);
        let longest = self.longest_release_nanoseconds.get();
        self.longest_release_nanoseconds.add(after.saturating_sub(longest));
    }

    pub(super) fn given_up(&self, bytes: usize) {
        self.given_up_bytes.add(bytes as u64);
    }
}
