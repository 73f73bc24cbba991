//! Stopping.

use super::driver::Fate;
use super::{Loop, Manner};
use crate::reactor::{StopWord, Stopper};
use crate::sync::Arc;
use crate::sync::model::{Bound, model};
use crate::sync::thread::{self, JoinHandle};

fn stop(stopper: Stopper) -> JoinHandle<()> {
    thread::spawn(move || stopper.stop())
}

fn stop_now(stopper: Stopper) -> JoinHandle<()> {
    thread::spawn(move || stopper.stop_now())
}

/// L-4: a loop that is stopped at any moment ends, and no connection or listener stays.
///
/// The stop comes before the first turn, while the loop goes to sleep, while it sleeps, or while it serves; nothing
/// else wakes the loop, and no deadline ends its sleep. The connection ends in steps of several turns, with the stop
/// behind it. The word is Relaxed, so only the fences of the sleep flag relate it to the flag. Absent: mail (L-9).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a word that is not looked at between the announcement and the sleep.
#[test]
fn a_stop_at_any_moment_ends_the_loop() {
    model("loop-stops", Bound::Exhaustive, || {
        let fate = Fate::new();
        let mut it = Loop::serving(Manner::Polite, fate.socket());
        let stopper = stop(it.stopper());
        assert_eq!(it.run(), 1);
        stopper.join().unwrap();
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}

/// L-5: a stop is sticky: a loop that was stopped before it was made ends as any other.
///
/// The word is up before the loop exists, and there was nobody to wake; the wake of a second stopper comes at any
/// moment, and may find a loop that has ended. Absent: connections.
/// Kills: no ordering; a stop that is seen only by a loop that is woken.
#[test]
fn a_stop_before_the_loop_exists_is_not_lost() {
    model("loop-stop-is-sticky", Bound::Exhaustive, || {
        let word: Arc<StopWord> = Arc::default();
        Stopper::new(Arc::clone(&word), Vec::new()).stop();
        let mut it = Loop::with_word(word, Manner::Polite);
        let stopper = stop(it.stopper());
        assert_eq!(it.run(), 0);
        drop(it);
        stopper.join().unwrap();
    });
}

/// L-6: a loop that is stopped twice, from two threads, drains once and ends once.
///
/// Either stopper may raise the word, and either may find the flag set; the second comes at any moment of the drain
/// that the first began. That each handler is drained once is asserted in the handler. Absent: `stop_now` (L-7).
/// Kills: fence F1 or F2 SeqCst -> AcqRel.
#[test]
fn a_loop_that_is_stopped_twice_ends_once() {
    model("loop-stops-twice", Bound::Preemptions(2), || {
        let fate = Fate::new();
        let mut it = Loop::serving(Manner::Polite, fate.socket());
        let stoppers = [stop(it.stopper()), stop(it.stopper())];
        assert_eq!(it.run(), 1);
        stoppers.into_iter().for_each(|stopper| stopper.join().unwrap());
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}

/// L-7: `stop_now` ends a drain that does not end by itself.
///
/// The connection never ends, so the loop sleeps again after the first stop, and only the second can end it. It may
/// see the two words one after the other or only the second. Absent: the drain limit, which time would bring.
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a stopping loop that no longer looks at the word before it sleeps.
#[test]
fn stop_now_ends_a_drain() {
    model("loop-stop-then-now", Bound::Preemptions(4), || {
        let fate = Fate::new();
        let mut it = Loop::serving(Manner::Stubborn, fate.socket());
        let stopper = it.stopper();
        let stopper = thread::spawn(move || {
            stopper.stop();
            stopper.stop_now();
        });
        assert_eq!(it.run(), 1);
        stopper.join().unwrap();
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}

/// L-8: a `stop` never takes back a `stop_now`, in whatever order two threads say them.
///
/// The connection never ends, so a word that had fallen back to a drain would leave the loop asleep for ever.
/// Absent: as in L-7.
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a word that is stored instead of raised.
#[test]
fn a_stop_does_not_take_back_a_stop_now() {
    model("loop-stop-against-now", Bound::Preemptions(2), || {
        let fate = Fate::new();
        let mut it = Loop::serving(Manner::Stubborn, fate.socket());
        let stoppers = [stop(it.stopper()), stop_now(it.stopper())];
        assert_eq!(it.run(), 1);
        stoppers.into_iter().for_each(|stopper| stopper.join().unwrap());
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}
