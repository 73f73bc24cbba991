//! A slot for the waker of the one task or thread that waits for news, which the one thread that has news wakes.
//!
//! # States
//!
//! | state | the waker belongs to | left by |
//! |---|---|---|
//! | `EMPTY` | waiter | waiter, who has put a waker in: `WAITING` |
//! | `WAITING` | nobody | waiter, who takes it back: `EMPTY`; the other side, who has news: `WAKING` |
//! | `WAKING` | the other side | the other side, who has taken the waker out: `EMPTY` |
//!
//! # Races
//!
//! ```text
//!   waiter                                other side
//!   ------                                ----------
//!   put the waker in, WAITING             publish the news
//!   fence(SeqCst)           F3            fence(SeqCst)            F4
//!   look for news once more               WAITING? WAKING, and wake
//! ```
//!
//! * *The news comes while the waker is put in.* As in the [module above](super): whichever fence is first, the other
//!   side's read sees the write before it. Either the waiter finds the news, or it is woken. It may be both.
//! * *Another waker is put in while the old one is being taken out* (`WAKING`; a future that moved to another task).
//!   The slot cannot be written now, and need not be: there are news, so the waiter wakes its new waker by itself.
//! * *The waiter goes away.* It takes its waker back, because a waker may keep a whole task alive. In `WAKING` the
//!   other side has it, and drops it soon.
#![expect(unsafe_code, reason = "a cell whose owner a state word decides")]

use std::fmt;
use std::task::Waker;

use super::wakes::wake;
use crate::sync::{AtomicUsize, Ordering, UnsafeCell, fence, thread};

const EMPTY: usize = 0;
const WAITING: usize = 1;
const WAKING: usize = 2;

/// See the module's documentation.
pub(crate) struct WakerSlot {
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the cell is touched by its owner alone (see the table), and ownership passes on with an Acquire of the other
// side's Release. A waker is Send and Sync.
unsafe impl Sync for WakerSlot {}
// SAFETY: as above.
unsafe impl Send for WakerSlot {}

impl WakerSlot {
    pub(crate) fn new() -> Self {
        Self { state: AtomicUsize::new(EMPTY), waker: UnsafeCell::new(None) }
    }

    /// Waiter: asks to be woken. It must look for news after this, and before it waits.
    pub(crate) fn register(&self, waker: &Waker) {
        if !self.take_back() {
            // The other side is about to leave the slot; a waiter that comes back at once would find it there again.
            thread::yield_now();
            return waker.wake_by_ref();
        }
        let old = self.waker.with_mut(|cell| {
            // SAFETY: the state is `EMPTY`, which only the waiter, who is here, leaves.
            let own = unsafe { &mut *cell };
            match own {
                Some(same) if same.will_wake(waker) => None,
                _ => own.replace(waker.clone()),
            }
        });
        // ORDERING: Release hands the waker over to the Acquire in `take`. The fence F3 orders it before the look for
        // news. A swap, as the other side's.
        self.state.swap(WAITING, Ordering::Release);
        // ORDERING: SeqCst fence F3, partner F4 in `take`.
        fence(Ordering::SeqCst);
        // What a waker runs when it is dropped comes after the transition.
        drop(old);
    }

    /// Waiter: does not wait any more.
    pub(crate) fn clear(&self) {
        if self.take_back() {
            let waker = self.waker.with_mut(|cell| {
                // SAFETY: as in `register`.
                unsafe { (*cell).take() }
            });
            drop(waker);
        }
    }

    /// Waiter: makes the slot its own. Answers `false` while the other side is waking.
    fn take_back(&self) -> bool {
        // ORDERING: Relaxed where the waker is taken back: the waiter itself has put it in. On failure Acquire pairs
        // with the Release with which the other side left the slot, emptied.
        match self.state.compare_exchange(WAITING, EMPTY, Ordering::Relaxed, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == EMPTY,
        }
    }

    /// Other side, after publishing news: wakes whoever waits for them. To be called by one thread at a time.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            wake(waker);
        }
    }

    /// As [`wake`](Self::wake), but leaves it to the caller to wake, soon.
    pub(crate) fn take(&self) -> Option<Waker> {
        // ORDERING: SeqCst fence F4, partner F3 in `register`.
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed: F4 orders this load after the news. It spares the exchange when nobody waits.
        if self.state.load(Ordering::Relaxed) != WAITING {
            return None;
        }
        // ORDERING: Acquire pairs with the Release in `register`: the waker is there. On failure the waiter has taken
        // it back, and will look for news.
        if self.state.compare_exchange(WAITING, WAKING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return None;
        }
        let waker = self.waker.with_mut(|cell| {
            // SAFETY: the state is `WAKING`, which only the other side, who is here, leaves.
            unsafe { (*cell).take() }
        });
        // ORDERING: Release pairs with the Acquire in `take_back`: the slot is empty when the waiter has it again.
        self.state.swap(EMPTY, Ordering::Release);
        waker
    }
}

impl fmt::Debug for WakerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakerSlot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::sync::WakerArc;

    struct Tally(AtomicUsize);

    impl std::task::Wake for Tally {
        fn wake(self: WakerArc<Self>) {
            // ORDERING: Relaxed: one thread.
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Who comes while the other side is waking has news, and may not see them yet: its waker is woken at once, and does
    /// not stay in the slot.
    #[test]
    fn who_comes_while_another_is_woken_is_woken() {
        let slot = WakerSlot::new();
        let tally = WakerArc::new(Tally(AtomicUsize::new(0)));
        // ORDERING: Relaxed: one thread, here and below.
        slot.state.swap(WAKING, Ordering::Relaxed);
        slot.register(&WakerArc::clone(&tally).into());
        assert_eq!((tally.0.load(Ordering::Relaxed), WakerArc::strong_count(&tally)), (1, 1));
        assert_eq!(slot.state.load(Ordering::Relaxed), WAKING, "the slot is still the other side's");
    }
}
