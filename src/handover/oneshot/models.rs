//! Models of the one-shot. Values and waiters lie in loom cells, so that a value read too early, and a waiter that both
//! ends touch, are reported; a lost wake-up shows as a deadlock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Abandoned, Pending, oneshot};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, AtomicUsize, Ordering, Parker, Track, thread};

/// A value that counts its drops, and whose leak is reported.
#[derive(Debug)]
struct Counting {
    drops: Arc<AtomicUsize>,
    _leak: Track<()>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        // ORDERING: Relaxed: the count is read when all threads have ended.
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting(drops: &Arc<AtomicUsize>) -> Counting {
    Counting { drops: Arc::clone(drops), _leak: Track::new(()) }
}

/// A deadline that never comes.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn poll<T: Send>(pending: &mut Pending<T>, parker: &Parker) -> Poll<Result<T, Abandoned>> {
    Pin::new(pending).poll(&mut Context::from_waker(&parker.waker()))
}

/// W-1: a value ends the wait of a blocked thread, whenever it comes; so does the end of a promise without one.
///
/// The second promise is dropped by the thread that the first value wakes, so that both ends race twice, and each
/// wait is with and without a deadline. Absent: change of waiters (W-2).
/// Kills: AcqRel of the promise's swap -> Acquire, -> Release; Acquire of `try_take` -> Relaxed; success and failure
/// of the registering exchange -> Relaxed.
#[test]
fn a_value_ends_the_wait_of_a_thread() {
    model("oneshot-wait", Bound::Exhaustive, || {
        let (there, pending) = oneshot();
        let (back, mut answer) = oneshot::<u32>();
        let other = thread::spawn(move || {
            assert_eq!(pending.wait(), Ok(7));
            drop(back);
        });
        there.fulfil(7);
        assert_eq!(answer.wait_until(far()), Some(Err(Abandoned)));
        other.join().unwrap();
    });
}

/// W-2: the last of several waiters is woken, and none of them is touched by both ends.
///
/// The future is polled with one waiter, then with another, and from then on sleeps on the second alone: a promise
/// that woke only the first, or woke from a cell that is being written, is found. Absent: drops (W-3).
/// Kills: failure of the exchange that takes the waiter back, Acquire -> Relaxed; AcqRel of the swap -> Release.
#[test]
fn the_last_of_several_waiters_is_woken() {
    model("oneshot-waiters", Bound::Exhaustive, || {
        let (promise, mut pending) = oneshot();
        let other = thread::spawn(move || promise.fulfil(7));
        let (first, second) = (Parker::current(), Parker::current());
        let mut state = poll(&mut pending, &first);
        while state.is_pending() {
            state = poll(&mut pending, &second);
            if state.is_pending() {
                second.park();
            }
        }
        assert_eq!(state, Poll::Ready(Ok(7)));
        assert_eq!(pending.try_take(), Some(Err(Abandoned)), "a value is taken once");
        other.join().unwrap();
    });
}

/// W-3: either end may go at any time: value and waiter are dropped once, and a waiter is not kept by the promise.
///
/// A pending end that was polled is dropped while the promise is fulfilled, and again while another is dropped.
/// Values are tracked, so one that stays behind is reported. Absent: a wait (W-1).
/// Kills: no ordering, but a drop of the pending end that takes the waiter without looking at the state.
#[test]
fn either_end_may_go_at_any_time() {
    model("oneshot-drop", Bound::Exhaustive, || {
        let drops = Arc::new(AtomicUsize::new(0));
        let (promise, mut pending) = oneshot();
        let (dropped, mut other_pending) = oneshot::<u32>();
        let value = counting(&drops);
        let other = thread::spawn(move || {
            promise.fulfil(value);
            let abandoned = dropped.is_abandoned();
            drop(dropped);
            abandoned
        });
        let parker = Parker::current();
        drop(poll(&mut pending, &parker));
        drop(pending);
        let _ = poll(&mut other_pending, &parker);
        drop(other_pending);
        other.join().unwrap();
        // ORDERING: Relaxed: the other thread has ended.
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// W-4: a wait whose time is over loses nothing: the value is there for the next one, whoever does it.
///
/// The first wait's deadline has passed, so it ends at any point of the promise's; then the end moves to a third
/// thread, which waits without one. Absent: polling by tasks (W-2).
/// Kills: Acquire of `try_take` -> Relaxed; failure of the exchange that takes the waiter back -> Relaxed.
#[test]
fn a_wait_whose_time_is_over_loses_nothing() {
    model("oneshot-deadline", Bound::Exhaustive, || {
        let (promise, mut pending) = oneshot();
        let other = thread::spawn(move || promise.fulfil(7));
        let first = pending.wait_until(Instant::now());
        let outcome = match first {
            Some(outcome) => outcome,
            None => thread::spawn(move || pending.wait()).join().unwrap(),
        };
        assert_eq!(outcome, Ok(7));
        other.join().unwrap();
    });
}
