//! What a loop counts.
//!
//! The loop counts, anyone reads, nobody waits. Two counters are not read at the same instant.

use crate::conn::CloseReason;
use crate::sync::Counter;

/// Counters of one loop.
#[derive(Debug, Default)]
pub struct LoopMetrics {
    /// Connections taken in.
    pub opened: Counter,
    /// Connections gone.
    pub closed: Counter,
    /// Of those, by reason. A connection that could not be taken in has none.
    pub closed_by: ClosedBy,
    /// Connections that came when there were too many, and were closed.
    pub refused: Counter,
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
    /// Mail from other threads: connections, and what handles ask for.
    pub mail: Counter,
    /// Sleeps that other threads ended or cut short. The mail beyond these was coalesced: it cost no wake-up.
    pub wakes: Counter,
    /// Times a connection was no longer received from because it was congested or paused.
    pub pauses: Counter,
    /// Times a connection was no longer received from because the loop was over its memory budget.
    pub memory_holds: Counter,
    /// Times a listener was given a rest because the system was out of descriptors.
    pub accept_rests: Counter,
    /// Calls of handlers that panicked.
    pub panics: Counter,
    /// Bytes of the loop's pool in use at the end of the last turn.
    pub pool_used: Counter,
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

/// Connections gone, by [`CloseReason`].
#[derive(Debug, Default)]
pub struct ClosedBy {
    /// See [`CloseReason::PeerEnded`].
    pub peer_ended: Counter,
    /// See [`CloseReason::Finished`].
    pub finished: Counter,
    /// See [`CloseReason::Aborted`].
    pub aborted: Counter,
    /// See [`CloseReason::Panicked`].
    pub panicked: Counter,
    /// See [`CloseReason::Broken`].
    pub broken: Counter,
    /// See [`CloseReason::Stopped`].
    pub stopped: Counter,
    /// See [`CloseReason::DrainExpired`].
    pub drain_expired: Counter,
    /// See [`CloseReason::IdleExpired`].
    pub idle_expired: Counter,
    /// See [`CloseReason::ReadExpired`].
    pub read_expired: Counter,
    /// See [`CloseReason::WriteExpired`].
    pub write_expired: Counter,
}

impl ClosedBy {
    /// The counter of a reason.
    #[must_use]
    pub fn counter(&self, reason: &CloseReason) -> &Counter {
        match reason {
            CloseReason::PeerEnded => &self.peer_ended,
            CloseReason::Finished => &self.finished,
            CloseReason::Aborted(_) => &self.aborted,
            CloseReason::Panicked => &self.panicked,
            CloseReason::Broken(_) => &self.broken,
            CloseReason::Stopped => &self.stopped,
            CloseReason::DrainExpired => &self.drain_expired,
            CloseReason::IdleExpired => &self.idle_expired,
            CloseReason::ReadExpired => &self.read_expired,
            CloseReason::WriteExpired => &self.write_expired,
        }
    }
}

/// Counters of one listener.
#[derive(Debug, Default)]
pub struct ListenerMetrics {
    /// Connections accepted, wherever they went.
    pub accepted: Counter,
    /// Times it was given a rest because the system was out of descriptors.
    pub rests: Counter,
}
