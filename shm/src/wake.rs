//! Thresholds: how a side that sleeps is woken, and a side that does not sleep is left alone.
//!
//! One side publishes a *counter* that only grows; the other sleeps until it has passed a *threshold*, a word of its own
//! that says which value it wants to hear of. Neither word is ever reset, so nothing needs repair when a side dies, and
//! a peer that stores garbage hurts itself: it is rung for too often, or not at all.
//!
//! ```text
//!   publisher                                  sleeper
//!   counter.store(new, Release)                threshold.store(at, Relaxed)
//!   fence(SeqCst)                   F1         fence(SeqCst)                       F2
//!   at = threshold.load(Relaxed)               now = counter.load(Acquire)
//!   ring when at is in [old, new)              sleep when now has not passed at
//! ```
//!
//! Whichever fence comes first, the other side sees what was stored before it: the sleeper finds the counter, or the
//! publisher finds the threshold. A sleeper that is spinning leaves its threshold where it is, behind the counter, and
//! costs the publisher no system call.
//!
//! The same two functions serve a consumer that waits for records (`tail`, `wake_at`), a producer that waits for space
//! (`head`, `space_at`) and a lender that waits for its memory (`released`, `release_at`).

use linkpoll::sync::{Ordering, fence};

use crate::storage::{Index, OwnWord, PeerWord};
use crate::sys::{Site, pass};

/// Whether the peer sleeps on what was just published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a peer whose doorbell is not rung sleeps on"]
pub enum Doorbell {
    /// It does not, or has been told already.
    Silent,
    /// Its doorbell must be rung, before this side sleeps.
    Due,
}

impl Doorbell {
    /// Whether it must be rung.
    #[inline]
    #[must_use]
    pub fn is_due(self) -> bool {
        self == Self::Due
    }

    /// One ring for both.
    #[inline]
    pub fn or(self, other: Self) -> Self {
        if self.is_due() { self } else { other }
    }
}

/// What came of an attempt to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a peer whose doorbell is not rung sleeps on"]
pub struct Park {
    /// Whether the caller may sleep: its doorbell will be rung. Otherwise there is something to do.
    pub may_sleep: bool,
    /// Whether the peer waits for what had to be published first.
    pub doorbell: Doorbell,
}

/// Raises our counter from `old` to `new`, and says whether the peer waits for that.
#[inline]
pub(crate) fn publish<I: Index>(
    counter: &impl OwnWord<I>,
    old: I,
    new: I,
    threshold: &impl PeerWord<I>,
) -> Doorbell {
    // ORDERING: Release: what the counter stands for was written before; partners are the Acquire loads of the peer's
    // counters in `Producer::refresh`, `Consumer::poll` and `Lender::collect`.
    counter.store(new, Ordering::Release);
    pass(Site::CounterPublished);
    // ORDERING: SeqCst fence F1, partner F2 in `announce`.
    fence(Ordering::SeqCst);
    // ORDERING: Relaxed: F1 orders it after the counter, and nothing is read by way of it.
    let at = threshold.load(Ordering::Relaxed);
    if at.since(old) < new.since(old) { Doorbell::Due } else { Doorbell::Silent }
}

/// Asks for a doorbell once the peer's counter has passed `at`. The counter must be looked at once more after this and
/// before sleeping.
#[inline]
pub(crate) fn announce<I: Index>(threshold: &impl OwnWord<I>, at: I) {
    // ORDERING: Relaxed: F2 orders it before the second look at the counter.
    threshold.store(at, Ordering::Relaxed);
    // ORDERING: SeqCst fence F2, partner F1 in `publish`.
    fence(Ordering::SeqCst);
    pass(Site::ThresholdStored);
}
