//! Dials of other threads.

use super::driver::{Fate, nowhere};
use super::{Loop, Manner};
use crate::net::DialError;
use crate::reactor::Turn;
use crate::sync::model::{Bound, model};
use crate::sync::thread;

/// D-1: a dial that meets a stop at any moment is answered once, and nothing of it stays.
///
/// The dial is in the mailbox, under way, or established when the loop is stopped, drains, ends and is dropped; or it
/// comes to a loop that has ended. The dialling thread sleeps until it is answered: an answer that is lost is a
/// deadlock. What the dial carries is dropped once, wherever it got to. Absent: a dial that is given up (D-2).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Acquire of the mailbox's `close` -> Relaxed; a draining loop that takes
/// dials, or keeps those it has.
#[test]
fn a_dial_that_meets_a_stop_is_answered_once() {
    for silent in [false, true] {
        let name = if silent { "loop-dial-and-stop-silent" } else { "loop-dial-and-stop" };
        model(name, Bound::Preemptions(2), move || {
            let fate = Fate::new();
            let mut it = Loop::new(Manner::Polite);
            it.reactor.driver.silent = silent;
            let (dialer, stopper) = (it.dialer(), it.stopper());
            let make = it.make(Manner::Polite, fate.socket());
            let dialling = thread::spawn(move || dialer.dial([nowhere()], make).wait());
            let stopper = thread::spawn(move || stopper.stop());
            let served = it.run();
            drop(it);
            match dialling.join().unwrap() {
                Ok(handle) => assert!(served == 1 && !handle.is_active()),
                Err(DialError::Stopped) => assert_eq!(served, 0),
                Err(other) => panic!("{other}"),
            }
            stopper.join().unwrap();
            assert_eq!(fate.attached_and_dropped(), (0, 1));
        });
    }
}

/// D-2: a dial that is given up at any moment is ended, and what it has led to is closed.
///
/// The waiter goes before the loop has read of the dial, while it is under way, or when its answer is on its way or
/// there. Where nobody answers the dial, only the waiter's own word can end it: one that is lost, or that comes before
/// the waiter has gone, leaves the loop asleep. Absent: a stop (D-1).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Release of the push -> Relaxed; a waiter that sends word before it goes; an
/// answer that does not close what nobody takes.
#[test]
fn a_dial_that_is_given_up_is_ended() {
    for silent in [false, true] {
        let name = if silent { "loop-dial-given-up-silent" } else { "loop-dial-given-up" };
        model(name, Bound::Preemptions(2), move || {
            let fate = Fate::new();
            let mut it = Loop::new(Manner::Polite);
            it.reactor.driver.silent = silent;
            let (dialer, metrics) = (it.dialer(), it.handle().metrics);
            let make = it.make(Manner::Polite, fate.socket());
            let dialling = thread::spawn(move || drop(dialer.dial([nowhere()], make)));
            while metrics.dials.get() == 0 || !it.reactor.slots.is_empty() {
                assert_eq!(it.turn(), Turn::Continue);
            }
            dialling.join().unwrap();
            assert!(it.reactor.driver.slots.is_empty());
            assert_eq!(metrics.connections(), 0);
            drop(it);
            assert_eq!(fate.attached_and_dropped(), (0, 1));
        });
    }
}
