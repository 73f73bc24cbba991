//! Wakers of tasks and threads that are woken together.
//!
//! A thread that wakes tasks one by one, with work of its own in between, wakes their executor as often: it runs the
//! task, finds no other, and sleeps again. Woken together, the first one's wake-up serves all.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::panics;

/// So many are woken at once, so that the first need not wait for the last of very many.
const MANY: usize = 64;

/// Wakes, and comes back whatever becomes of it. A waker is code of the one who waits: that it panics must not keep a loop
/// from its other connections, nor the news from others who wait for them. The panic has been reported then.
pub(super) fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        panics::discard(payload);
    }
}

/// Wakers that wait to be woken. Dropping it wakes them: a wake-up that was taken is never lost.
#[derive(Debug, Default)]
pub(crate) struct Wakes(VecDeque<Waker>);

impl Wakes {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is time to wake them.
    #[inline]
    pub(crate) fn is_many(&self) -> bool {
        self.0.len() >= MANY
    }

    #[inline]
    pub(crate) fn extend(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    /// Wakes all, also when one panics.
    pub(crate) fn wake_all(&mut self) {
        while let Some(waker) = self.0.pop_front() {
            wake(waker);
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::sync::{Arc, AtomicUsize, Ordering, WakerArc};

    struct Tally(Arc<AtomicUsize>);

    impl Wake for Tally {
        fn wake(self: WakerArc<Self>) {
            // ORDERING: Relaxed: one thread.
            self.0.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("every one panics"));
        }
    }

    /// A waker that panics keeps no other from being woken, nor does the end of the loop.
    #[test]
    fn every_waker_is_woken() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut wakes = Wakes::default();
        let tally = || Some(WakerArc::new(Tally(Arc::clone(&count))).into());
        (0..2).for_each(|_| wakes.extend(tally()));
        wakes.extend(None);
        assert!(!wakes.is_many());
        wakes.wake_all();
        assert!(wakes.is_empty());
        (0..2).for_each(|_| wakes.extend(tally()));
        drop(wakes);
        // ORDERING: Relaxed: one thread.
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }
}
