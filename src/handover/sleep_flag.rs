//! The flag with which an owner announces its sleep, and by which one of many pushers wakes it.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | awake | the owner will look at its sources before it sleeps; nobody rings | owner: [`arm`](SleepFlag::arm) |
//! | asleep | the owner sleeps, or is about to look once more and then sleep | owner: [`disarm`](SleepFlag::disarm); pusher: [`take`](SleepFlag::take), who then must ring |
//!
//! The argument why no wake-up is lost stands in the [module above](super). Wake-ups coalesce: of many pushers one
//! resets the flag and rings; the others find it reset.

use crate::sync::{AtomicBool, Ordering, fence};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct SleepFlag {
    asleep: AtomicBool,
}

impl SleepFlag {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// Owner: announces sleep. Every source must be looked at once more after this and before sleeping.
    pub(crate) fn arm(&self) {
        // ORDERING: Relaxed; the fence F1 orders it before the owner's second look. A swap, as the other side's.
        self.asleep.swap(true, Ordering::Relaxed);
        // ORDERING: SeqCst fence F1, partner F2 in `take`.
        fence(Ordering::SeqCst);
    }

    /// Owner: is awake again. Answers whether a pusher has taken the flag, and rung the bell.
    pub(crate) fn disarm(&self) -> bool {
        // ORDERING: Relaxed: what was pushed is acquired from where it was pushed to, not from the flag.
        !self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Pusher, after publishing: whether the caller must ring the owner's bell.
    pub(crate) fn take(&self) -> bool {
        // ORDERING: SeqCst fence F2, partner F1 in `arm`.
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed: F2 orders this load after the push. The swap decides which of several pushers rings.
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}
