//! One value from one thread to another: a promise, and who waits for it.
//!
//! The [`Promise`] is fulfilled once, or dropped, which is an outcome too. The [`Pending`] end waits as a future, on
//! any executor, or blocks its thread, with or without a deadline; to the protocol both are a `Waker`. Either end
//! may go at any time. One allocation.
//!
//! # States
//!
//! One word says who owns the two cells, *value* and *waiter*:
//!
//! | state | value belongs to | waiter belongs to | left by |
//! |---|---|---|---|
//! | `EMPTY` | promise | pending | pending: `WAITING`, `GONE`; promise: `DONE` |
//! | `WAITING` | promise | promise | pending, who takes the waiter back: `EMPTY`, `GONE`; promise: `DONE` |
//! | `DONE` | pending | the one it belonged to before | pending, who looks no more: `GONE` |
//! | `GONE` | promise | pending | promise: `DONE`, seen by nobody |
//!
//! The promise makes one transition in its life, a swap to `DONE`, and what the swap answers decides what it does:
//! after `WAITING` it wakes the waiter, which is its own then; otherwise it does nothing more.
//!
//! # Races
//!
//! * *The value comes while the waiter is being registered.* The waiter is written before `EMPTY -> WAITING`. If the
//!   promise was first, the exchange fails with `DONE`, and the value is there; if it was second, it finds `WAITING`
//!   and wakes. There is no moment in between, so no fence is needed: one word decides.
//! * *The value comes while another waiter is registered* (a future that moved to another task). The old waiter is
//!   taken back by `WAITING -> EMPTY` before its cell is touched. If the promise was first, the cell is left alone:
//!   the promise may be waking from it just then.
//! * *Both ends go at once.* Each end makes its last transition and then gives up its share of the allocation; what
//!   is still in the cells is dropped with it.
#![expect(unsafe_code, reason = "two cells whose owner a state word decides")]

#[cfg(test)]
mod models;
mod pending;

use std::fmt;
use std::task::Waker;

use super::wakes::wake;
use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};
pub use pending::Pending;

const EMPTY: usize = 0;
const WAITING: usize = 1;
const DONE: usize = 2;
const GONE: usize = 3;

struct Shared<T> {
    state: AtomicUsize,
    value: UnsafeCell<Option<T>>,
    waiter: UnsafeCell<Option<Waker>>,
}

// SAFETY: each cell is touched by its owner alone (see the table), and ownership passes on with an Acquire of the
// other side's Release. The value is moved from one thread to another (T: Send); no `&T` is shared.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

/// A promise, and the right to wait for it. Allocates once.
pub fn oneshot<T: Send>() -> (Promise<T>, Pending<T>) {
    let shared = Arc::new(Shared {
        state: AtomicUsize::new(EMPTY),
        value: UnsafeCell::new(None),
        waiter: UnsafeCell::new(None),
    });
    (Promise { shared: Arc::clone(&shared) }, Pending::new(shared))
}

/// The end that brings the value. Dropping it unfulfilled tells the other end [`Abandoned`].
pub struct Promise<T: Send> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> Promise<T> {
    /// Hands the value over and wakes whoever waits for it. Never blocks. The value is dropped when nobody can get
    /// it any more.
    pub fn fulfil(self, value: T) {
        self.shared.value.with_mut(|cell| {
            // SAFETY: before `DONE`, which only the drop of this promise brings about, the value's cell is ours.
            unsafe { *cell = Some(value) }
        });
    }

    /// Whether nobody waits any more, so that the work for the value can be saved. A hint: the other end may go at
    /// any later moment.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        // ORDERING: Relaxed, no partner: nothing is read on the strength of it.
        self.shared.state.load(Ordering::Relaxed) == GONE
    }
}

impl<T: Send> Drop for Promise<T> {
    /// The one transition; with a value in its cell or without.
    fn drop(&mut self) {
        // ORDERING: AcqRel. Release publishes the value to the Acquire of `Pending`, wherever it sees `DONE`; Acquire
        // pairs with the Release with which `Pending` registered its waiter.
        if self.shared.state.swap(DONE, Ordering::AcqRel) == WAITING {
            let waiter = self.shared.waiter.with_mut(|cell| {
                // SAFETY: the state was `WAITING`, so the cell is ours, and stays ours: `Pending` leaves it alone.
                unsafe { (*cell).take() }
            });
            if let Some(waiter) = waiter {
                wake(waiter);
            }
        }
    }
}

impl<T: Send> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("abandoned", &self.is_abandoned()).finish()
    }
}

/// The promise was dropped unfulfilled, or its value was taken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nobody left to bring the value")
    }
}

impl std::error::Error for Abandoned {}
