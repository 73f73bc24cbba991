//! Mail to a loop that ends.

use super::driver::Fate;
use super::{Loop, Manner, acceptor};
use crate::reactor::{Placement, Placer, StopWord, Stopper};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, thread};

/// L-9: a socket that is posted to a loop that is ending, or has ended, is closed once, and nobody waits for it.
///
/// The acceptor posts before, while and after the loop is stopped, drains a connection, runs its last turn and is
/// dropped. The socket is served, refused by the draining loop, found in the mailbox when that closes, or returned to
/// the acceptor, which drops it. A handle outlives the loop, so a socket that is only forgotten shows too. Absent: a
/// second acceptor (L-3).
/// Kills: Acquire of the mailbox's `close` -> Relaxed; Release of the push -> Relaxed; a draining loop that takes
/// connections in; a mailbox that stays open when its loop ends.
#[test]
fn a_socket_posted_to_an_ending_loop_is_closed_once() {
    model("loop-mail-at-the-end", Bound::Preemptions(2), || {
        let [first, late] = [Fate::new(), Fate::new()];
        let mut it = Loop::serving(Manner::Polite, first.socket());
        let (handle, stopper) = (it.handle(), it.stopper());
        let acceptor = acceptor(it.handle(), [late.socket()]);
        let stopper = thread::spawn(move || stopper.stop());
        let served = it.run() - 1;
        drop(it);
        let came_back = acceptor.join().unwrap();
        stopper.join().unwrap();
        assert!(served + came_back <= 1);
        assert_eq!(first.attached_and_dropped(), (1, 1));
        assert_eq!(late.attached_and_dropped(), (served, 1));
        drop(handle);
    });
}

/// L-10: a socket that an acceptor's loop hands to another loop while both stop is closed once, and both loops end.
///
/// Two loops on two threads share a stop word, as the loops of a server do; the stopper wakes one after the other,
/// so either may end first. The socket lies in the first loop's listener when it starts. Absent: placing by load or
/// address, which chooses a loop and does nothing else.
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Acquire of the mailbox's `close` -> Relaxed.
#[test]
fn a_socket_handed_to_a_stopping_loop_is_closed_once() {
    model("loop-places-while-stopping", Bound::Preemptions(2), || {
        let fate = Fate::new();
        let word: Arc<StopWord> = Arc::default();
        let mut other = Loop::with_word(Arc::clone(&word), Manner::Polite);
        let (socket, handle) = (fate.socket(), other.handle());
        let others_handle = handle.clone();
        let accepting = thread::spawn(move || {
            let mut it = Loop::with_word(Arc::clone(&word), Manner::Polite);
            let handles = vec![it.handle(), others_handle];
            let wakes = handles.iter().map(|handle| Box::new(handle.post.clone()) as _).collect();
            let stopper = Stopper::new(word, wakes);
            it.reactor.place_with(Placer::over(handles, 0, Placement::RoundRobin));
            it.reactor.driver.accept(socket);
            let stopper = thread::spawn(move || stopper.stop());
            assert_eq!(it.run(), 0, "the first connection goes to the other loop");
            drop(it);
            stopper.join().unwrap();
        });
        let served = other.run();
        drop(other);
        accepting.join().unwrap();
        assert_eq!(fate.attached_and_dropped(), (served, 1));
        drop(handle);
    });
}
