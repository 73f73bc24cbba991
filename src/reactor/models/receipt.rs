//! Bytes that other threads send through a handle.

use super::driver::Fate;
use super::{Loop, Manner};
use crate::buffer::{Chain, Segment};
use crate::conn::SendFailure;
use crate::driver::Key;
use crate::sync::model::{Bound, model};
use crate::sync::thread;

/// K-1: a receipt is answered once, whenever its connection or its loop ends.
///
/// The chain is in the mailbox, with the driver, or sent when the loop drains and ends; or the loop is lost without an
/// end, as by a panic of its thread; or the chain comes when all that is over. The receipt is awaited afterwards: one
/// that nobody answers is a deadlock. Bytes lie in tracked blocks. Absent: order (H-3) and a connection that takes only
/// some of the bytes.
/// Kills: Acquire of the mailbox's `close` -> Relaxed; Release of the push -> Relaxed; a loop that is lost and leaves
/// its handles active; receipts that are forgotten when a connection is closed.
#[test]
fn a_receipt_is_answered_whatever_ends_first() {
    for drains in [true, false] {
        let name = if drains { "conn-receipt-and-drain" } else { "conn-receipt-and-loss" };
        model(name, Bound::Preemptions(4), move || {
            let fate = Fate::new();
            let mut it = Loop::serving(Manner::Polite, fate.socket());
            let handle = it.hold(Key::new(1, 1));
            if drains {
                it.stopper().stop();
            }
            let sender = {
                let handle = handle.clone();
                thread::spawn(move || handle.send(Chain::from(Segment::from(vec![1; 2]))))
            };
            if drains {
                assert_eq!(it.run(), 1);
            } else {
                it.turn();
            }
            drop(it);
            if let Err(error) = sender.join().unwrap().wait() {
                assert!(error.why == SendFailure::Closed && error.taken == 0);
            }
            assert!(!handle.is_active());
            assert_eq!(fate.attached_and_dropped(), (1, 1));
        });
    }
}
