//! Panics in places that are easily forgotten: they cost their own connection, and nothing else.

use linkpoll::buffer::Segment;
use linkpoll::conn::CloseReason;
use linkpoll::reactor::LoopOptions;
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
    let (tell, told) = std::sync::mpsc::channel();
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
    let (tell, told) = std::sync::mpsc::channel();
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
