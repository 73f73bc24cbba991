//! Counters.

use super::driver::Fate;
use super::{Loop, Manner};
use crate::sync::model::{Bound, model};
use crate::sync::thread;

/// L-11: what a loop counts can be read by any thread at any time, and only grows.
///
/// The reader comes at every moment of a connection's whole life, and may see values as old as loads without order
/// permit: a connection that is closed before it was opened, too. Each counter by itself never goes back, and the
/// number of connections is none or one. What it reads last, after the loop has ended, is exact. Absent: other
/// counters, which are the same type.
/// Kills: no ordering, for there is none; a difference that wraps around.
#[test]
fn what_a_loop_counts_can_be_read_at_any_time() {
    model("loop-metrics", Bound::Preemptions(3), || {
        let fate = Fate::new();
        let mut it = Loop::new(Manner::Polite);
        let (metrics, stopper) = (it.handle().metrics, it.stopper());
        let reader = thread::spawn(move || {
            let (opened, closed) = (metrics.opened.get(), metrics.closed.get());
            assert!(metrics.connections() <= 1);
            assert!(metrics.opened.get() >= opened && metrics.closed.get() >= closed);
            metrics
        });
        it.reactor.attach(fate.socket());
        stopper.stop();
        assert_eq!(it.run(), 1);
        let metrics = reader.join().unwrap();
        assert_eq!((metrics.opened.get(), metrics.closed.get(), metrics.connections()), (1, 1, 0));
    });
}
