//! What a loop counts.

use crate::sync::Counter;

/// Counters of one loop. The loop counts, anyone reads; two counters are not read at the same instant.
#[derive(Debug, Default)]
pub struct LoopMetrics {
    /// Connections taken in.
    pub opened: Counter,
    /// Connections gone.
    pub closed: Counter,
    /// Bytes received.
    pub received: Counter,
    /// Bytes sent.
    pub sent: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Times the adaptive policy began to spin, and times it found work by that.
    pub spins: Counter,
    /// See `spins`.
    pub spins_paid: Counter,
    /// Times a listener was given a rest because the system was out of descriptors.
    pub accept_rests: Counter,
    /// Calls of handlers that panicked.
    pub panics: Counter,
}

impl LoopMetrics {
    /// Connections there are now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        // `closed` first: it must not be newer than `opened`.
        let closed = self.closed.get();
        self.opened.get().saturating_sub(closed)
    }
}
