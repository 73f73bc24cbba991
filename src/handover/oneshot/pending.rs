//! The end that waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{Abandoned, DONE, EMPTY, GONE, Shared, WAITING};
use crate::sync::{Arc, Ordering, Parker};

/// The end that waits for the value, as a future or by blocking. It may be dropped at any time.
#[must_use = "the value is lost with it"]
pub struct Pending<T: Send> {
    shared: Arc<Shared<T>>,
    /// Whether a waiter may lie in its cell. If not, the state cannot be `WAITING`.
    registered: bool,
}

impl<T: Send> Pending<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, registered: false }
    }

    /// The value, if it has come. `None` as long as it may still come. Never blocks.
    pub fn try_take(&mut self) -> Option<Result<T, Abandoned>> {
        // ORDERING: Acquire pairs with the Release of the promise's swap: the value is there.
        (self.shared.state.load(Ordering::Acquire) == DONE).then(|| self.take())
    }

    /// Blocks until the value has come.
    ///
    /// # Errors
    /// When the promise is dropped unfulfilled.
    pub fn wait(mut self) -> Result<T, Abandoned> {
        if let Some(outcome) = self.try_take() {
            return outcome;
        }
        let parker = Parker::current();
        let waker = parker.waker();
        loop {
            if let Poll::Ready(outcome) = self.poll_with(&waker) {
                return outcome;
            }
            parker.park();
        }
    }

    /// Blocks until the value has come, but not longer than until `deadline`; then the answer is `None`, and waiting
    /// again is possible. A value that has come is returned also when the deadline has passed.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<T, Abandoned>> {
        if let Some(outcome) = self.try_take() {
            return Some(outcome);
        }
        let parker = Parker::current();
        let waker = parker.waker();
        loop {
            if let Poll::Ready(outcome) = self.poll_with(&waker) {
                return Some(outcome);
            }
            if Instant::now() >= deadline {
                return None;
            }
            parker.park_until(deadline);
        }
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Result<T, Abandoned>> {
        if !self.take_back() {
            return Poll::Ready(self.take());
        }
        let old = self.shared.waiter.with_mut(|cell| {
            // SAFETY: the state is `EMPTY`, or `DONE` reached from there: the waiter's cell is ours.
            let waiter = unsafe { &mut *cell };
            match waiter {
                Some(same) if same.will_wake(waker) => None,
                _ => waiter.replace(waker.clone()),
            }
        });
        self.registered = true;
        // ORDERING: Release hands the waiter over to the Acquire of the promise's swap. On failure Acquire, as in
        // `try_take`: the value is there.
        let waiting =
            self.shared.state.compare_exchange(EMPTY, WAITING, Ordering::Release, Ordering::Acquire);
        // What a waker runs when it is dropped comes after the transition.
        drop(old);
        if waiting.is_ok() { Poll::Pending } else { Poll::Ready(self.take()) }
    }

    /// Makes the waiter's cell ours again. Answers `false` when the promise has ended.
    fn take_back(&self) -> bool {
        if !self.registered {
            return true;
        }
        // ORDERING: Relaxed: what is in the waiter's cell was put there by this end. On failure Acquire, as in
        // `try_take`.
        self.shared.state.compare_exchange(WAITING, EMPTY, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Takes the value; only after `DONE` was seen with Acquire.
    fn take(&mut self) -> Result<T, Abandoned> {
        let value = self.shared.value.with_mut(|cell| {
            // SAFETY: the state is `DONE`, so the value's cell is ours, and what the promise wrote happened before.
            unsafe { (*cell).take() }
        });
        value.ok_or(Abandoned)
    }
}

impl<T: Send> Future for Pending<T> {
    type Output = Result<T, Abandoned>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.try_take() {
            Some(outcome) => Poll::Ready(outcome),
            None => self.poll_with(context.waker()),
        }
    }
}

impl<T: Send> Drop for Pending<T> {
    fn drop(&mut self) {
        // ORDERING: Relaxed: nothing is published, and only this end's own waiter is touched after it.
        if self.shared.state.swap(GONE, Ordering::Relaxed) == WAITING {
            let waiter = self.shared.waiter.with_mut(|cell| {
                // SAFETY: the state was `WAITING`, and the promise will find `GONE`: the cell is ours again.
                unsafe { (*cell).take() }
            });
            // Now, and not with the promise: a waker may keep a whole task alive.
            drop(waiter);
        }
    }
}

impl<T: Send> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
