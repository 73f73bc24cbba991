//! Panics in places that are easily forgotten: they cost their own connection, and nothing else.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use linkpoll::buffer::Segment;
use linkpoll::conn::CloseReason;
use linkpoll::reactor::{DialError, LoopOptions};
use linkpoll::service::{Flow, Handler, Io};

use crate::bench::Bench;
use crate::playing::{Call, consume};

/// Panics without the message that a panic prints.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}

/// A handler that panics when it is dropped.
struct PanicsWhenDropped;

impl Handler for PanicsWhenDropped {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        consume(io);
        Flow::Continue
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic_quietly();
    }
}

/// A connection that echoes, and shows that the loop still works.
fn still_serves(bench: &mut Bench) -> bool {
    let echo = bench.notes.play("echo", |call, io| {
        if call == Call::Data {
            let (input, output) = io.split();
            let n = input.len();
            output.write(input.next(n).expect("as many are there")).expect("memory");
        }
        Flow::Continue
    });
    let mut other = bench.connect(echo);
    other.write(b"served");
    bench.settle();
    other.read().0 == b"served"
}

/// A handler that is dropped because another takes over panics: the other goes on.
#[test]
fn a_former_handler_that_panics_when_dropped_does_not_disturb_the_next() {
    struct First(Option<Box<dyn Handler + Send>>);
    impl Handler for First {
        fn data(&mut self, _io: &mut Io<'_>) -> Flow {
            Flow::Become(self.0.take().expect("it hands over once"))
        }
    }
    impl Drop for First {
        fn drop(&mut self) {
            panic_quietly();
        }
    }
    let mut bench = Bench::new(LoopOptions::default());
    let second = bench.notes.goes_on("second");
    let mut other = bench.connect(First(Some(Box::new(second))));
    other.write(b"over");
    bench.settle();
    // It reads everything when it is opened.
    assert_eq!(bench.calls(), [("second", Call::Open)]);
    other.write(b"again");
    bench.settle();
    assert_eq!(bench.calls(), [("second", Call::Data)]);
    assert_eq!(bench.metrics.panics.get(), 1);
    assert!(still_serves(&mut bench));
}

/// A successor that never comes to it, because the call that named it cannot be sent, panics when it is dropped.
#[test]
fn a_successor_that_never_comes_may_panic_when_dropped() {
    let mut bench = Bench::new(LoopOptions::default());
    let first = bench.notes.play("first", |call, io| {
        if call != Call::Data {
            return Flow::Continue;
        }
        // A hole that stays open: nothing of this call can be sent.
        let _open = io.output().hole(4).expect("memory");
        Flow::Become(Box::new(PanicsWhenDropped))
    });
    let mut other = bench.connect(first);
    other.write(b"over");
    bench.settle();
    assert!(matches!(bench.reason(), Some(CloseReason::Aborted(_))));
    assert_eq!(bench.metrics.panics.get(), 1);
    assert!(still_serves(&mut bench));
}

/// What a handler puts off to the end of the turn panics: what others have put off is done, and no connection ends.
#[test]
fn a_panic_at_the_end_of_a_turn_leaves_the_others_work_undisturbed() {
    let mut bench = Bench::new(LoopOptions::default());
    let (tell, told) = channel();
    let mut others: Vec<_> = (0..3)
        .map(|index| {
            let tell = tell.clone();
            let handler = bench.notes.play("each", move |call, io| {
                if call == Call::Data {
                    consume(io);
                    let (tell, handle) = (tell.clone(), io.handle());
                    io.at_turn_end(move || {
                        tell.send(index).expect("the test listens");
                        // Mail of the loop to itself.
                        handle.wake();
                        if index == 1 {
                            panic_quietly();
                        }
                    });
                }
                Flow::Continue
            });
            bench.connect(handler)
        })
        .collect();
    bench.settle();
    bench.calls();
    others.iter_mut().for_each(|other| other.write(b"go"));
    bench.settle();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    let calls = bench.calls();
    assert_eq!(calls.iter().filter(|note| **note == ("each", Call::Woken)).count(), 3, "{calls:?}");
    assert_eq!((bench.metrics.panics.get(), bench.metrics.connections()), (1, 3));
}

/// A panic in `woken` ends its connection, with what was written in the call.
#[test]
fn a_panic_when_woken_ends_its_connection() {
    let mut bench = Bench::new(LoopOptions::default());
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |call, io| {
        if call == Call::Woken {
            io.output().write(b"never sent").expect("memory");
            panic_quietly();
        }
        tell.send(io.handle()).expect("the test listens");
        Flow::Continue
    });
    let mut other = bench.connect(handler);
    told.recv().expect("it was opened").wake();
    bench.settle();
    assert_eq!(bench.calls(), [Call::Open, Call::Woken, Call::Closed].map(|call| ("it", call)));
    assert!(matches!(bench.reason(), Some(CloseReason::Panicked)));
    assert_eq!(other.read(), (Vec::new(), true));
    assert!(still_serves(&mut bench));
}

/// Memory of the application that panics when it is given back, which the loop does once it is sent.
#[test]
fn an_owner_of_sent_bytes_that_panics_does_not_disturb_the_loop() {
    struct Owner(Vec<u8>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            panic_quietly();
        }
    }
    let mut bench = Bench::new(LoopOptions::default());
    let handler = bench.notes.play("it", |call, io| {
        if call == Call::Data {
            consume(io);
            let owner = Owner(vec![7; 100_000]);
            io.output().append(Segment::from_owner(owner)).expect("no memory is needed");
        }
        Flow::Continue
    });
    let mut other = bench.connect(handler);
    other.write(b"go");
    bench.settle();
    let mut sent = 0;
    while sent < 100_000 {
        let (bytes, ended) = other.read();
        assert!(!ended && bytes.iter().all(|byte| *byte == 7));
        sent += bytes.len();
        bench.settle();
    }
    other.write(b"again");
    bench.settle();
    assert!(!other.read().0.is_empty());
    assert!(still_serves(&mut bench));
}

/// An error of the application that panics when it is dropped.
#[derive(Debug)]
struct Bad;

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bad")
    }
}

impl std::error::Error for Bad {}

impl Drop for Bad {
    fn drop(&mut self) {
        panic_quietly();
    }
}

/// The error with which a handler gives up is dropped by the loop when the connection ends for another reason, and by
/// the handler when it is told of it; it panics in both.
#[test]
fn an_error_that_panics_when_dropped_costs_its_own_connection() {
    for aborted in [true, false] {
        let mut bench = Bench::new(LoopOptions::default());
        let (tell, told) = channel();
        let handler = bench.notes.play("it", move |call, io| {
            if call != Call::Data {
                return Flow::Continue;
            }
            consume(io);
            tell.send(io.handle()).expect("the test listens");
            let owed = if aborted { 4 << 20 } else { 1 };
            io.output().append(Segment::from(vec![7; owed])).expect("no memory is needed");
            Flow::AbortWhenSent(Box::new(Bad))
        });
        let mut other = bench.connect(handler);
        other.write(b"go");
        bench.settle();
        if aborted {
            told.recv().expect("it was called").abort();
            bench.settle();
            assert_eq!(bench.metrics.panics.get(), 1, "the error was dropped");
            assert!(matches!(bench.reason(), Some(CloseReason::Aborted(_))));
        } else {
            other.end();
            bench.settle();
            let Some(CloseReason::Aborted(error)) = bench.reason() else { panic!("it is closed") };
            // The test has it, and must not be disturbed either.
            std::mem::forget(error);
        }
        assert_eq!(bench.metrics.connections(), 0);
        assert!(still_serves(&mut bench));
    }
}

/// What is left in the mail of a loop that ends panics when it is dropped: everybody who waits is answered.
#[test]
fn mail_that_panics_when_dropped_keeps_no_other_from_its_answer() {
    let mut bench = Bench::new(LoopOptions::default());
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |_, io| {
        tell.send((io.dialer(), io.handle())).expect("the test listens");
        Flow::Continue
    });
    let _other = bench.connect(handler);
    bench.settle();
    // Slots and mail, one after another, each with something that panics.
    let _bad: Vec<_> = (0..3).map(|_| bench.connect(PanicsWhenDropped)).collect();
    bench.settle();
    let (dialer, handle) = told.recv().expect("it was opened");
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (_ours, theirs) = UnixStream::pair().expect("a pair");
            let bad = PanicsWhenDropped;
            let adopting = dialer.adopt(theirs, move |_| bad).expect("a socket");
            (adopting, handle.send(Segment::copy_of(b"never sent").into()))
        })
        .collect();
    drop(bench);
    for (adopting, receipt) in waiting {
        assert!(matches!(adopting.wait(), Err(DialError::Stopped)));
        assert!(receipt.wait().is_err_and(|error| error.taken == 0));
    }
    assert!(!handle.is_active());
}
