//! Deadlines on a played clock: none too early, none late, of connections that are busy, slow, paused, or have several.

use std::sync::mpsc::channel;
use std::time::Duration;

use linkpoll::buffer::Segment;
use linkpoll::conn::{CloseReason, Handle};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::Flow;

use crate::bench::{Bench, Other};
use crate::playing::{Call, consume};

const SECOND: Duration = Duration::from_secs(1);

fn options() -> LoopOptions {
    LoopOptions { idle_limit: None, read_limit: None, write_limit: None, ..LoopOptions::default() }
}

/// A connection whose messages are 8 bytes, and its handle.
fn connect(bench: &mut Bench) -> (Other, Handle) {
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |call, io| {
        if call == Call::Open {
            tell.send(io.handle()).expect("the test listens");
        }
        if call == Call::Data && io.input().len() >= 8 {
            consume(io);
        }
        Flow::Continue
    });
    let other = bench.connect(handler);
    (other, told.recv().expect("it was opened"))
}

/// A connection without traffic is closed at its limit, and one with traffic is not.
#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let mut bench = Bench::new(LoopOptions { idle_limit: Some(10 * SECOND), ..options() });
    let (_idle, idle) = connect(&mut bench);
    let (mut busy, handle) = connect(&mut bench);
    bench.settle();
    for _ in 0..9 {
        bench.pass(SECOND);
        busy.write(b"tick");
        bench.settle();
    }
    assert!(idle.is_active(), "closed too early");
    bench.pass(SECOND);
    assert!(matches!(bench.reason(), Some(CloseReason::IdleExpired)));
    assert!(!idle.is_active() && handle.is_active(), "it is the other one");
    bench.pass(9 * SECOND);
    assert!(matches!(bench.reason(), Some(CloseReason::IdleExpired)), "the other is idle too");
    assert_eq!(bench.metrics.closed_by.idle_expired.get(), 2);
}

/// Work under way elsewhere is not idleness, and its end begins the limit anew.
#[test]
fn a_connection_with_work_under_way_is_not_idle() {
    let mut bench = Bench::new(LoopOptions { idle_limit: Some(10 * SECOND), ..options() });
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |call, io| {
        match call {
            Call::Data => {
                consume(io);
                io.set_busy(true);
                tell.send(io.handle()).expect("the test listens");
            }
            Call::Woken => {
                io.set_busy(false);
                io.output().write(b"done").expect("memory");
            }
            _ => {}
        }
        Flow::Continue
    });
    let mut other = bench.connect(handler);
    other.write(b"work");
    bench.settle();
    bench.pass(45 * SECOND);
    assert!(bench.reason().is_none(), "it is at work");
    told.recv().expect("it has begun").wake();
    bench.settle();
    assert_eq!(other.read().0, b"done");
    bench.pass(9 * SECOND);
    assert!(bench.reason().is_none());
    bench.pass(SECOND);
    assert!(matches!(bench.reason(), Some(CloseReason::IdleExpired)));
}

/// Bytes that do not make a message whole do not put its limit off; messages that become whole do, and silence between
/// messages is no fault.
#[test]
fn dripping_does_not_help() {
    let mut bench = Bench::new(LoopOptions { read_limit: Some(10 * SECOND), ..options() });
    let (mut other, handle) = connect(&mut bench);
    for _ in 0..3 {
        other.write(b"half");
        bench.settle();
        bench.pass(9 * SECOND);
        other.write(b"rest");
        bench.settle();
        bench.pass(100 * SECOND);
    }
    for _ in 0..7 {
        assert!(handle.is_active());
        other.write(b".");
        bench.settle();
        bench.pass(SECOND);
    }
    bench.pass(2 * SECOND);
    assert!(bench.reason().is_none(), "closed too early");
    bench.pass(SECOND);
    assert!(matches!(bench.reason(), Some(CloseReason::ReadExpired)));
}

/// A peer that takes some now and then is slow, not gone.
#[test]
fn a_slow_peer_is_given_time() {
    const OWED: usize = 8 << 20;
    let mut bench = Bench::new(LoopOptions { write_limit: Some(10 * SECOND), ..options() });
    let handler = bench.notes.play("it", |call, io| {
        if call != Call::Data {
            return Flow::Continue;
        }
        consume(io);
        io.output().append(Segment::from(vec![7; OWED])).expect("no memory is needed");
        Flow::CloseWhenSent
    });
    let mut other = bench.connect(handler);
    other.write(b"slowly");
    bench.settle();
    let mut taken = 0;
    while taken < OWED {
        bench.pass(9 * SECOND);
        let (bytes, ended) = other.read();
        assert!(!ended || bytes.len() + taken == OWED, "it ends too early");
        taken += bytes.len();
        bench.settle();
    }
    assert_eq!(bench.metrics.closed_by.write_expired.get(), 0);
}

/// While the application pauses a connection, or has congested it through its handle, the peer cannot complete its
/// message, and is not blamed; its time begins anew afterwards.
#[test]
fn a_peer_is_not_blamed_for_a_pause() {
    let mut bench = Bench::new(LoopOptions { read_limit: Some(10 * SECOND), ..options() });
    let (mut other, handle) = connect(&mut bench);
    other.write(b"half");
    bench.settle();
    bench.pass(9 * SECOND);
    handle.pause();
    bench.pass(20 * SECOND);
    handle.resume();
    bench.pass(9 * SECOND);
    assert!(bench.reason().is_none(), "the pause counts against the peer");
    // The same by congestion.
    let receipt = handle.send(Segment::from(vec![1; 4 << 20]).into());
    bench.pass(20 * SECOND);
    assert!(bench.reason().is_none(), "a congestion counts against the peer");
    other.read_all(&mut bench);
    assert!(receipt.wait().is_ok());
    bench.pass(9 * SECOND);
    assert!(bench.reason().is_none());
    bench.pass(2 * SECOND);
    assert!(matches!(bench.reason(), Some(CloseReason::ReadExpired)), "it never completes its message");
}

/// A busy connection that is kept alive at its idle limit keeps its other deadlines.
#[test]
fn being_busy_puts_off_no_other_deadline() {
    let limits = LoopOptions { idle_limit: Some(10 * SECOND), write_limit: Some(15 * SECOND), ..options() };
    let mut bench = Bench::new(limits);
    let handler = bench.notes.play("it", |call, io| {
        if call == Call::Open {
            io.set_busy(true);
            io.output().append(Segment::from(vec![1; 8 << 20])).expect("no memory is needed");
        }
        Flow::Continue
    });
    let _other = bench.connect(handler);
    bench.settle();
    bench.pass(11 * SECOND);
    assert!(bench.reason().is_none(), "it is busy");
    bench.pass(5 * SECOND);
    assert!(matches!(bench.reason(), Some(CloseReason::WriteExpired)));
}

/// The drain limit is measured on the driver's clock, as every other.
#[test]
fn a_drain_ends_by_the_drivers_clock() {
    let mut bench = Bench::new(LoopOptions { drain_limit: 10 * SECOND, ..options() });
    let (_other, _) = connect(&mut bench);
    let stays = bench.notes.play("stays", |_, _| Flow::Continue);
    let _stays = bench.connect(stays);
    bench.pass(5 * SECOND);
    bench.reactor.stopper().stop();
    bench.settle();
    bench.pass(9 * SECOND);
    assert_eq!(bench.metrics.closed_by.drain_expired.get(), 0);
    bench.clock.pass(2 * SECOND);
    assert!(bench.settle(), "the loop ends at its drain limit");
    assert_eq!(bench.metrics.closed_by.drain_expired.get(), 2);
}

/// A limit that begins anew moves no timer and makes no system call; and the timer goes with its connection.
#[test]
fn a_deadline_that_begins_anew_costs_no_system_call() {
    let all = LoopOptions {
        idle_limit: Some(50 * SECOND),
        read_limit: Some(60 * SECOND),
        write_limit: Some(60 * SECOND),
        ..options()
    };
    let mut counted = Vec::new();
    for options in [options(), all] {
        let mut bench = Bench::new(options);
        let calls = bench.reactor.system_calls();
        let (mut other, handle) = connect(&mut bench);
        bench.settle();
        let before = calls.snapshot();
        for _ in 0..100 {
            other.write(b"half");
            bench.pass(SECOND);
            other.write(b"rest");
            bench.pass(SECOND);
            drop(handle.send(Segment::copy_of(b"answer").into()));
            bench.pass(SECOND);
        }
        counted.push(calls.snapshot().since(&before));
        assert!(bench.reason().is_none(), "it was never quiet for long");
        assert_eq!(bench.metrics.timers.get(), u64::from(options.idle_limit.is_some()));
        drop(other);
        bench.settle();
        assert_eq!((bench.metrics.connections(), bench.metrics.timers.get()), (0, 0));
    }
    let [without, with] = &counted[..] else { panic!("two were counted") };
    assert_eq!(without, with);
    assert_eq!((with.receive, with.send, with.accept + with.control + with.other), (200, 100, 0));
}

/// A connection at rest has no deadline, and its loop sleeps without a limit.
#[test]
fn a_loop_at_rest_sleeps_without_a_limit() {
    let mut bench =
        Bench::new(LoopOptions { read_limit: Some(SECOND), write_limit: Some(SECOND), ..options() });
    let (mut other, handle) = connect(&mut bench);
    other.write(b"whole...");
    drop(handle.send(Segment::copy_of(b"answer").into()));
    bench.settle();
    assert_eq!(bench.clock.sleep(), None);
    other.write(b"half");
    bench.settle();
    assert!(bench.clock.sleep().is_some_and(|sleep| !sleep.is_zero() && sleep <= SECOND));
    assert_eq!(bench.calls().len(), 3);
}
