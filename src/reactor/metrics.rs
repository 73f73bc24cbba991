//! What a loop counts.
//!
//! The loop counts, anyone reads, nobody waits. Two counters are not read at the same instant. A table of counters
//! (`LoopMetrics`) gives a table of numbers (`LoopMetrics<u64>`) by its `snapshot`; those can be subtracted (`since`),
//! summed up over loops (`sum`), and printed.

use std::fmt;
use std::ops::Add;

use crate::buffer::PoolUsage;
use crate::conn::CloseReason;
use crate::sync::{Counter, counters};

counters! {
    /// Counters of one loop.
    pub struct LoopMetrics {
        /// Connections taken in.
        pub opened,
        /// Connections gone.
        pub closed,
        /// Connections that came when there were too many, and were closed.
        pub refused,
        /// Connections that were accepted for this loop and that it has looked at, whatever came of them.
        pub placed,
        /// Connections that were to be established from here.
        pub dials,
        /// Of those, the ones that failed or took too long.
        pub dials_failed,
        /// Bytes received.
        pub received,
        /// Bytes sent.
        pub sent,
        /// Messages that handlers have counted.
        pub messages,
        /// Turns of the loop.
        pub turns,
        /// Times the adaptive policy began to spin, and times it found work by that.
        pub spins,
        /// See `spins`.
        pub spins_paid,
        /// Mail from other threads: connections, and what handles ask for.
        pub mail,
        /// Sleeps that other threads ended or cut short. The mail beyond these was coalesced: it cost no wake-up.
        pub wakes,
        /// Times an open connection was no longer received from: it was congested or paused, its handler left too
        /// much unread, or the loop was over its memory budget.
        pub pauses,
        /// Times a connection was chosen not to be received from because the loop was over its memory budget.
        pub memory_holds,
        /// Times a listener was given a rest because the system was out of descriptors.
        pub accept_rests,
        /// Calls of handlers that panicked.
        pub panics,
        /// Whether the kernel has refused the slice that the loop's thread was to have: 1 if so.
        pub slice_refused,
        = /// Timers that were armed at the end of the last turn: at most one for each connection and dial, none for one
        /// that is gone.
        pub timers,
        : /// Of the connections gone, by reason. A connection that could not be taken in has none.
        pub closed_by: ClosedBy,
        : /// The loop's pool at the end of its last turn, in bytes.
        pub pool: PoolGauges,
    }
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

impl LoopMetrics<u64> {
    /// As [`LoopMetrics::connections`].
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// About how many messages from other threads needed no wake-up of their own.
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.mail.saturating_sub(self.wakes)
    }
}

counters! {
    /// Connections gone, by [`CloseReason`].
    pub struct ClosedBy {
        /// See [`CloseReason::PeerEnded`].
        pub peer_ended,
        /// See [`CloseReason::Finished`].
        pub finished,
        /// See [`CloseReason::Aborted`].
        pub aborted,
        /// See [`CloseReason::Panicked`].
        pub panicked,
        /// See [`CloseReason::Broken`].
        pub broken,
        /// See [`CloseReason::Stopped`].
        pub stopped,
        /// See [`CloseReason::DrainExpired`].
        pub drain_expired,
        /// See [`CloseReason::IdleExpired`].
        pub idle_expired,
        /// See [`CloseReason::ReadExpired`].
        pub read_expired,
        /// See [`CloseReason::WriteExpired`].
        pub write_expired,
        /// See [`CloseReason::Detached`].
        pub detached,
    }
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
            CloseReason::Detached => &self.detached,
        }
    }
}

/// What a pool's memory is used for, in bytes; measured, not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolGauges<C = Counter> {
    /// In blocks that somebody uses.
    pub in_use: C,
    /// Mapped from the system; what is not in use of it is kept for the next use.
    pub mapped: C,
    /// The most that may be mapped.
    pub limit: C,
}

impl PoolGauges {
    pub(super) fn set(&self, usage: &PoolUsage) {
        self.in_use.set((usage.mapped - usage.free) as u64);
        self.mapped.set(usage.mapped as u64);
        self.limit.set(usage.limit as u64);
    }

    /// The values now.
    #[must_use]
    pub fn snapshot(&self) -> PoolGauges<u64> {
        let Self { in_use, mapped, limit } = self;
        PoolGauges { in_use: in_use.get(), mapped: mapped.get(), limit: limit.get() }
    }
}

impl PoolGauges<u64> {
    /// As it is: what is measured has no difference.
    fn since(&self, _earlier: &Self) -> Self {
        *self
    }
}

impl Add for PoolGauges<u64> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            in_use: self.in_use + other.in_use,
            mapped: self.mapped + other.mapped,
            limit: self.limit + other.limit,
        }
    }
}

impl fmt::Display for PoolGauges<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in use {}, mapped {}, limit {}", self.in_use, self.mapped, self.limit)
    }
}

counters! {
    /// Counters of one listener.
    pub struct ListenerMetrics {
        /// Connections accepted, wherever they went.
        pub accepted,
        /// Times it was given a rest because the system was out of descriptors.
        pub rests,
        /// Times it was given a rest because its loop had the most connections, or too little memory.
        pub full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_subtracted_summed_up_and_printed() {
        let metrics: LoopMetrics = LoopMetrics::default();
        metrics.opened.add(3);
        metrics.closed_by.counter(&CloseReason::PeerEnded).add(2);
        let before = metrics.snapshot();
        metrics.opened.add(4);
        metrics.accept_rests.add(1);
        metrics.closed.add(2);
        metrics.mail.add(5);
        metrics.wakes.add(1);
        metrics.timers.set(2);
        metrics.pool.set(&PoolUsage { mapped: 10, free: 4, limit: 64 });
        let now = metrics.snapshot();
        assert_eq!((now.connections(), metrics.connections(), now.coalesced()), (5, 5, 4));
        let text = now.since(&before).to_string();
        let expected = "opened 4, closed 2, mail 5, wakes 1, accept rests 1, \
                        timers 2, pool (in use 6, mapped 10, limit 64)";
        assert_eq!(text, expected);
        let both: LoopMetrics<u64> = [before, now].into_iter().sum();
        assert_eq!((both.opened, both.timers, both.closed_by.peer_ended, both.pool.in_use), (10, 2, 4, 6));
        assert_eq!(ClosedBy::<u64>::default().to_string(), "");
    }
}
