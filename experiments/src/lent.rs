//! What drivers count of memory that they lend to the kernel, in one form for all of them.

use std::time::Duration;

use linkpoll::sync::Counter;

use crate::delays::Delays;

/// Counters of one driver. Its thread counts, anyone reads.
#[derive(Debug, Default)]
pub struct LentMemory {
    /// Bytes sent by reference.
    pub bytes: Counter,
    /// Of those, bytes that have come back with the word that the kernel had copied them after all.
    pub copied: Counter,
    /// How long loans took to come back.
    pub delays: Delays,
}

impl LentMemory {
    /// A send has lent so many bytes. To be called by the driver's thread only.
    pub fn lent(&self, bytes: usize) {
        self.bytes.add(bytes as u64);
    }

    /// So many of them have come back. To be called by the driver's thread only.
    pub fn returned(&self, bytes: usize, after: Duration, copied: bool) {
        self.delays.record(after);
        if copied {
            self.copied.add(bytes as u64);
        }
    }
}
