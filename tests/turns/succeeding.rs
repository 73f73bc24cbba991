//! A handler that takes the place of another, at every moment.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use linkpoll::buffer::Segment;
use linkpoll::conn::{CloseReason, Handle};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::Flow;

use crate::bench::Bench;
use crate::playing::{Call, Notes, Playing, consume};

const LONG: Duration = Duration::from_secs(3600);

fn bench() -> Bench {
    Bench::new(LoopOptions { drain_limit: LONG, linger_limit: LONG, ..LoopOptions::default() })
}

/// A handler that leaves its input alone, and hands over in one call.
fn hands_over_in(notes: &Notes, when: Call, tell: Sender<Handle>) -> Playing {
    let successor = notes.clone();
    notes.play("first", move |call, io| {
        if call == Call::Open {
            tell.send(io.handle()).expect("the test listens");
        }
        if call == Call::Open && when == Call::Writable {
            // More than the high-water mark, and more than the socket takes.
            io.output().append(Segment::from(vec![1; 2 << 20])).expect("no memory is needed");
        }
        if call != when {
            return Flow::Continue;
        }
        Flow::Become(Box::new(reads_when_told(&successor)))
    })
}

fn reads_when_told(notes: &Notes) -> Playing {
    notes.play("second", |call, io| {
        if call == Call::Data {
            assert_eq!(consume(io), 5);
        }
        Flow::Continue
    })
}

/// In whichever call a handler hands over, the next one is opened, given what waits, then told of an end that was
/// seen; and the first is called no more, not even with `closed`.
#[test]
fn a_successor_is_new_to_the_connection_whenever_it_comes() {
    for when in [Call::Open, Call::Data, Call::Writable, Call::Eof, Call::Woken, Call::Drain] {
        let mut bench = bench();
        let (tell, told) = channel();
        let first = hands_over_in(&bench.notes, when, tell);
        let mut other = bench.connect(first);
        let handle = told.recv().expect("it was opened");
        other.write(b"waits");
        bench.settle();
        match when {
            Call::Writable => other.read_all(&mut bench),
            Call::Eof => other.end(),
            Call::Woken => handle.wake(),
            Call::Drain => bench.reactor.stopper().stop(),
            _ => {}
        }
        bench.settle();
        let calls = bench.calls();
        let at = calls.iter().position(|note| *note == ("first", when)).expect("the call came");
        let told_again = matches!(when, Call::Eof | Call::Drain).then_some(when);
        let expected: Vec<_> = [Call::Open, Call::Data].into_iter().chain(told_again).collect();
        let expected: Vec<_> = expected.into_iter().map(|call| ("second", call)).collect();
        assert_eq!(calls[at + 1..], expected, "handed over in {when:?}");
        handle.abort();
        bench.settle();
        assert_eq!(bench.calls(), [("second", Call::Closed)], "handed over in {when:?}");
    }
}

/// A handler that takes over while the loop drains, in `drain` itself or later, is told that it does: a stop does not
/// have to wait for the drain limit on its account.
#[test]
fn a_successor_learns_that_the_loop_drains() {
    for later in [false, true] {
        let mut bench = bench();
        let notes = bench.notes.clone();
        let first = bench.notes.play("first", move |call, io| match call {
            Call::Drain if later => Flow::Continue,
            Call::Drain | Call::Data => {
                consume(io);
                let next = notes.play("second", |call, io| {
                    if call == Call::Drain {
                        io.output().write(b"bye").expect("memory");
                        return Flow::CloseWhenSent;
                    }
                    Flow::Continue
                });
                Flow::Become(Box::new(next))
            }
            _ => Flow::Continue,
        });
        let mut other = bench.connect(first);
        bench.settle();
        bench.reactor.stopper().stop();
        bench.settle();
        if later {
            other.write(b"now");
            bench.settle();
        }
        let calls = bench.calls();
        let second: Vec<_> =
            calls.iter().filter(|(name, _)| *name == "second").map(|(_, call)| *call).collect();
        assert_eq!(second, [Call::Open, Call::Drain]);
        assert_eq!(other.read(), (b"bye".to_vec(), true));
        drop(other);
        assert!(bench.settle(), "the loop ends");
        assert!(matches!(bench.reason(), Some(CloseReason::Stopped)));
    }
}

/// Handlers that hand over as soon as they are opened, very many in a row, need no deep stack.
#[test]
fn a_long_row_of_successors_needs_no_deep_stack() {
    fn link(notes: Notes, left: u32) -> Playing {
        let successor = notes.clone();
        notes.play("link", move |_, _| match left {
            0 => Flow::CloseWhenSent,
            _ => Flow::Become(Box::new(link(successor.clone(), left - 1))),
        })
    }
    let mut bench = bench();
    let first = link(bench.notes.clone(), 100_000);
    let mut other = bench.connect(first);
    bench.settle();
    assert_eq!(bench.calls().len(), 100_001);
    assert_eq!(other.read(), (Vec::new(), true));
}

/// Hand-over, pause and the end of our direction in one call: what was written leaves, then our end; the next handler
/// is opened, finds itself paused, and gets what waits, and the end, when it resumes.
#[test]
fn a_hand_over_keeps_a_pause_and_an_ended_direction() {
    let mut bench = bench();
    let notes = bench.notes.clone();
    let (tell, told) = channel();
    let first = bench.notes.play("first", move |call, io| {
        if call != Call::Data {
            tell.send(io.handle()).expect("the test listens");
            return Flow::Continue;
        }
        io.output().write(b"last").expect("memory");
        io.shutdown();
        io.pause();
        let next = notes.play("second", |call, io| {
            match call {
                Call::Open => assert!(io.is_paused()),
                Call::Woken => io.resume(),
                _ => assert!(consume(io) < 9),
            }
            if io.output().write(b"too late").is_err() { Flow::Continue } else { ends_at_eof(call) }
        });
        Flow::Become(Box::new(next))
    });
    let mut other = bench.connect(first);
    let handle = told.recv().expect("it was opened");
    other.write(b"in");
    bench.settle();
    assert_eq!(other.read(), (b"last".to_vec(), true), "nothing is sent behind the end");
    assert!(!handle.is_active(), "a handle knows that nothing can be sent");
    other.write(b"more");
    other.end();
    bench.settle();
    let expected = [("first", Call::Open), ("first", Call::Data), ("second", Call::Open)];
    assert_eq!(bench.calls(), expected);
    handle.wake();
    bench.settle();
    let second = |call| ("second", call);
    let mut calls = bench.calls();
    // What was left and what came later may come in two calls.
    calls.dedup();
    assert_eq!(calls, [Call::Woken, Call::Data, Call::Eof, Call::Closed].map(second));
    assert!(matches!(bench.reason(), Some(CloseReason::PeerEnded)));
    assert_eq!(bench.metrics.panics.get(), 0);
}

fn ends_at_eof(call: Call) -> Flow {
    if call == Call::Eof { Flow::CloseWhenSent } else { Flow::Continue }
}
