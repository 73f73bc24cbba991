//! Handles of connections that are gone, and of those that are not.

use std::sync::mpsc::channel;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{CloseReason, Handle, SendFailure};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::Flow;

use crate::bench::{Bench, Other};
use crate::playing::{Call, consume};

/// A connection that goes on, and its handle.
fn connect(bench: &mut Bench) -> (Other, Handle) {
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |call, io| {
        consume(io);
        if call == Call::Open {
            tell.send(io.handle()).expect("the test listens");
        }
        if matches!(call, Call::Eof | Call::Drain) { Flow::CloseWhenSent } else { Flow::Continue }
    });
    let other = bench.connect(handler);
    (other, told.recv().expect("it was opened"))
}

fn everything(handle: &Handle) {
    handle.wake();
    handle.pause();
    handle.resume();
    handle.close();
    handle.abort();
    let receipt = handle.send(Chain::from(Segment::copy_of(b"for somebody else")));
    let error = receipt.wait().expect_err("it is closed");
    assert_eq!((error.taken, error.why), (0, SendFailure::Closed));
}

/// A handle that is kept after its connection is closed reaches nobody, also when the slot is in use again, and costs
/// its loop nothing: no mail, no wake-up.
#[test]
fn a_handle_kept_for_ever_reaches_nobody_and_costs_nothing() {
    let mut bench = Bench::new(LoopOptions::default());
    let old: Vec<Handle> = (0..50)
        .map(|_| {
            let (other, handle) = connect(&mut bench);
            drop(other);
            bench.settle();
            handle
        })
        .collect();
    let (mut other, handle) = connect(&mut bench);
    bench.settle();
    bench.calls();
    let mail = bench.metrics.mail.get();
    old.iter().for_each(everything);
    other.write(b"x");
    bench.settle();
    assert_eq!(bench.calls(), [("it", Call::Data)]);
    assert_eq!(other.read(), (Vec::new(), false));
    assert_eq!(bench.metrics.mail.get(), mail);
    assert!(handle.is_active() && old.iter().all(|handle| !handle.is_active()));
}

/// Commands that are under way when their connection closes, and whose slot is used again before they are read, come to
/// nothing; a chain among them is answered.
#[test]
fn commands_under_way_when_the_connection_closes_come_to_nothing() {
    let mut bench = Bench::new(LoopOptions::default());
    let (other, handle) = connect(&mut bench);
    drop(other);
    // The end is found, and the close begins, in this turn; the handle does not know it yet.
    handle.pause();
    let receipts: Vec<_> = (0..3)
        .map(|_| {
            handle.wake();
            let receipt = handle.send(Chain::from(Segment::copy_of(b"late")));
            bench.turn();
            receipt
        })
        .collect();
    handle.abort();
    let (mut second, _) = connect(&mut bench);
    bench.settle();
    for receipt in receipts {
        let error = receipt.wait().expect_err("the peer is gone, or the connection was");
        assert_eq!(error.why, SendFailure::Closed);
    }
    second.write(b"x");
    bench.settle();
    assert_eq!(bench.calls().last(), Some(&("it", Call::Data)));
    assert_eq!(bench.metrics.connections(), 1);
}

/// Commands of one thread are carried out in their order: bytes, the end behind them, and nothing after it.
#[test]
fn commands_are_carried_out_in_order() {
    let mut bench = Bench::new(LoopOptions::default());
    let (mut other, handle) = connect(&mut bench);
    let mut receipts: Vec<_> = ["a", "b", "c"]
        .map(|text| handle.send(Chain::from(Segment::copy_of(text.as_bytes()))))
        .into_iter()
        .collect();
    handle.close();
    let late = handle.send(Chain::from(Segment::copy_of(b"d")));
    bench.settle();
    assert_eq!(other.read(), (b"abc".to_vec(), true));
    assert!(receipts.drain(..).all(|receipt| receipt.wait().is_ok()));
    assert_eq!(late.wait().expect_err("behind the close").why, SendFailure::Closed);
    other.end();
    bench.settle();
    assert!(matches!(bench.reason(), Some(CloseReason::Finished)));
}

/// A loop that drains, or has ended, takes no more from handles than it must, and answers what it is asked.
#[test]
fn mail_to_a_loop_that_drains_is_answered() {
    let mut bench = Bench::new(LoopOptions::default());
    let (mut other, handle) = connect(&mut bench);
    let (_second, stays) = connect(&mut bench);
    let before = handle.send(Chain::from(Segment::copy_of(b"before")));
    bench.reactor.stopper().stop();
    bench.settle();
    let after = handle.send(Chain::from(Segment::copy_of(b"after")));
    stays.wake();
    bench.settle();
    assert!(before.wait().is_ok());
    assert_eq!(after.wait().expect_err("it closes").why, SendFailure::Closed);
    assert_eq!(other.read(), (b"before".to_vec(), true));
    let unread = stays.send(Chain::from(Segment::copy_of(b"unread")));
    drop(bench);
    assert_eq!(unread.wait().expect_err("the loop is gone").taken, 0);
    everything(&stays);
}
