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
    /// Messages that handlers have counted.
    pub messages: Counter,
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
    /// About how many connections there are now: the difference of two counters that are not read at the same
    /// instant, and exact once the loop is at rest.
    #[must_use]
    pub fn connections(&self) -> u64 {
        // The counters order nothing, so `closed` may be seen newer than `opened`, and be larger.
        self.opened.get().saturating_sub(self.closed.get())
    }
}
