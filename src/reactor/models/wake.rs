//! Waking one connection's handler from other threads.

use super::driver::Fate;
use super::{Loop, Manner};
use crate::driver::Key;
use crate::sync::model::{Bound, model};
use crate::sync::{Ordering, thread};

/// L-13: what is published before a wake is seen by a call of the handler that comes after it, however wakes
/// coalesce.
///
/// Two threads publish and wake through clones of one handle, at any moment of the loop's turns, so that one may
/// find the other's command under way and send none. The loop turns until its handler has seen both: a lost wake, or
/// a coalesced one whose news is not seen, is a deadlock. Absent: the connection's end (L-14).
/// Kills: AcqRel of `raise` -> Acquire; AcqRel of `take` -> Release; a signal whose word is reset after the handler
/// was called.
#[test]
fn every_wake_is_followed_by_a_call_that_sees_its_news() {
    model("conn-wakes-coalesce", Bound::Preemptions(2), || {
        let fate = Fate::new();
        let mut it = Loop::serving(Manner::Polite, fate.socket());
        let handle = it.hold(Key::new(1, 1));
        let wakers = [(); 2].map(|()| {
            let (handle, news) = (handle.clone(), it.news.clone());
            thread::spawn(move || {
                // ORDERING: Relaxed: the wake is to publish it.
                news.fetch_add(1, Ordering::Relaxed);
                handle.wake();
            })
        });
        while it.seen.get() < 2 {
            it.turn();
        }
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        drop((it, handle));
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}

/// L-14: a wake of a connection whose loop ends does nothing, and the loop's end is seen by the handle.
///
/// The handle is used before, while and after the loop is stopped, closes the connection and is dropped. Absent:
/// a second waker (L-13).
/// Kills: a mailbox that stays open when its loop ends; a handle that is not retired.
#[test]
fn a_wake_of_an_ending_loop_does_nothing() {
    model("conn-wake-at-the-end", Bound::Preemptions(2), || {
        let fate = Fate::new();
        let mut it = Loop::serving(Manner::Polite, fate.socket());
        let handle = it.hold(Key::new(1, 1));
        let stopper = it.stopper();
        let waker = {
            let handle = handle.clone();
            thread::spawn(move || {
                stopper.stop();
                handle.wake();
            })
        };
        assert_eq!(it.run(), 1);
        drop(it);
        waker.join().unwrap();
        assert!(!handle.is_active());
        handle.wake();
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}
