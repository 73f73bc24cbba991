//! Sleeping and waking.

use super::driver::Fate;
use super::{Loop, Manner, acceptor};
use crate::reactor::Mail;
use crate::sync::model::{Bound, model};

/// L-1: a socket that is posted at any moment is taken in without another wake-up.
///
/// One socket, posted before the first turn, while the loop goes to sleep, or while it sleeps, and nothing else that
/// could wake it: a wake-up that is lost is a deadlock. Absent: a second sleep after the first (L-2).
/// Kills: fence F1 or F2 of the sleep flag SeqCst -> AcqRel; Release of the push -> Relaxed; Acquire of `take_all`
/// -> Relaxed; one announcement for several sleeps, which a ring that shows nothing yet makes the last.
#[test]
fn a_socket_posted_at_any_moment_is_taken_in() {
    model("loop-mail-wakes", Bound::Exhaustive, || {
        let fate = Fate::new();
        let mut it = Loop::new(Manner::Polite);
        let acceptor = acceptor(it.handle(), [fate.socket()]);
        it.serve(1);
        assert_eq!(acceptor.join().unwrap(), 0);
        drop(it);
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}

/// L-2: a loop that was woken sleeps again, and is woken again.
///
/// Two sockets one after the other from one acceptor: the second comes while the loop is still awake, on its way back
/// to sleep, or asleep for the second time, with a flag that the first wake-up may or may not have reset and a ring
/// that may still be on its way. Absent: a second acceptor (L-3).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a flag that is disarmed after the mail was read.
#[test]
fn a_loop_that_was_woken_is_woken_again() {
    model("loop-wakes-again", Bound::Preemptions(4), || {
        let fates = [Fate::new(), Fate::new()];
        let mut it = Loop::new(Manner::Polite);
        let acceptor = acceptor(it.handle(), fates.each_ref().map(Fate::socket));
        it.serve(2);
        assert_eq!(acceptor.join().unwrap(), 0);
        drop(it);
        assert!(fates.iter().all(|fate| fate.attached_and_dropped() == (1, 1)));
    });
}

/// L-3: several acceptors wake a loop; at most one of them rings for each of its sleeps, and nobody rings while it is
/// awake.
///
/// Two acceptors race for one flag, so one finds it reset by the other and must rely on that one's ring; the loop
/// may be asleep for either. Before that, a sleep is announced and does not come about, as the driver has an event.
/// Rings are counted where the kernel would be entered. Absent: order between acceptors, which nobody is promised.
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a flag that is read without being reset, or is left set after the wait.
#[test]
fn several_acceptors_ring_once_for_each_sleep() {
    model("loop-wakes-coalesce", Bound::Preemptions(2), || {
        let fates = [(); 4].map(|()| Fate::new());
        let [accepted, posted, raced @ ..] = fates.each_ref().map(Fate::socket);
        let mut it = Loop::new(Manner::Polite);
        it.reactor.driver.accept(accepted);
        it.serve(1);
        assert!(it.handle().post.send(Mail::Connection(posted)).is_ok());
        assert_eq!(it.kernel.rings(), 0, "the loop is awake");
        it.serve(2);
        let before = it.turns;
        let acceptors = raced.map(|socket| acceptor(it.handle(), [socket]));
        it.serve(4);
        acceptors.into_iter().for_each(|acceptor| assert_eq!(acceptor.join().unwrap(), 0));
        let (rings, turns) = (it.kernel.rings(), it.turns - before);
        assert!(rings <= turns, "{rings} rings in {turns} turns");
        drop(it);
        assert!(fates.iter().all(|fate| fate.attached_and_dropped() == (1, 1)));
    });
}
