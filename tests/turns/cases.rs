//! Cases that every library of this kind must get right (A-14 and so on in docs/claims.md), as far as they need one
//! exact order of events.

use std::sync::mpsc::channel;

use linkpoll::buffer::Segment;
use linkpoll::conn::CloseReason;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Frame, Framed};

use crate::bench::Bench;
use crate::playing::{Call, consume};

/// a message that arrives in two halves is handed over once, when it is whole; and so is the next one, whose
/// header comes in two parts.
#[test]
fn a_message_in_two_halves_is_handed_over_once() {
    let mut bench = Bench::new(LoopOptions::default());
    let (tell, told) = channel();
    let handler = Framed::new(Frame::default(), move |request, reply| {
        tell.send(request.len()).expect("the test listens");
        Ok(reply.write(b"ok")?)
    });
    let mut other = bench.connect(handler);
    let message = [&1000_u32.to_be_bytes()[..], &[5; 1000]].concat();
    for cut in [2, 4, 500, 1003] {
        other.write(&message[..cut]);
        bench.settle();
        assert!(told.try_recv().is_err(), "half a message was handed over");
        other.write(&message[cut..]);
        bench.settle();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1000]);
        assert_eq!(other.read().0, b"\0\0\0\x02ok");
    }
}

/// a message of 1 MB that comes in pieces of 1 KB uses less than 4 MB, however its bytes are looked at in between.
#[test]
fn a_large_message_in_small_pieces_uses_little_memory() {
    const WHOLE: usize = 1 << 20;
    for announces in [false, true] {
        let mut bench = Bench::new(LoopOptions::default());
        let handler = bench.notes.play("it", move |call, io| {
            if call == Call::Data {
                let n = io.input().len();
                if n == WHOLE {
                    assert!(io.input().next(n).expect("it is whole").iter().all(|byte| *byte == 8));
                    return Flow::Continue;
                }
                // A header would be looked at over and over.
                assert!(io.input().peek(n.min(600)).is_ok());
                if announces {
                    io.want(WHOLE - n);
                }
            }
            Flow::Continue
        });
        let mut other = bench.connect(handler);
        let mut most = 0;
        for _ in 0..WHOLE / 1024 {
            other.write(&[8; 1024]);
            bench.turn();
            most = most.max(bench.metrics.pool.in_use.get());
        }
        bench.settle();
        assert!(most < 4 << 20, "{most} bytes in use");
        assert_eq!(bench.metrics.panics.get(), 0);
        assert_eq!(bench.metrics.received.get(), WHOLE as u64);
    }
}

/// lines are handed over as they become whole, and what is left without a delimiter is there when the end
/// is told.
#[test]
fn what_is_left_without_a_delimiter_is_there_at_the_end() {
    let mut bench = Bench::new(LoopOptions::default());
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |call, io| {
        let input = io.input();
        while let Some(at) = input.find(b'\n') {
            let line = input.next(at).expect("it is there").to_vec();
            tell.send(line).expect("the test listens");
        }
        if call == Call::Eof {
            let n = input.len();
            tell.send(input.next(n).expect("it is there").to_vec()).expect("the test listens");
            return Flow::CloseWhenSent;
        }
        Flow::Continue
    });
    let mut other = bench.connect(handler);
    for part in ["one\ntw", "o\nthr", "ee", "\nno end"] {
        other.write(part.as_bytes());
        bench.settle();
    }
    // It closes at once; nothing of this is lost.
    other.write(b", really");
    drop(other);
    bench.settle();
    let lines: Vec<Vec<u8>> = told.try_iter().collect();
    assert_eq!(lines, [&b"one\n"[..], b"two\n", b"three\n", b"no end, really"]);
    assert!(matches!(bench.reason(), Some(CloseReason::PeerEnded)));
}

/// what is written when the connection opens arrives, before anything else.
#[test]
fn what_is_written_at_the_opening_arrives_first() {
    let mut bench = Bench::new(LoopOptions::default());
    let handler = bench.notes.play("it", |call, io| {
        consume(io);
        io.output().write(if call == Call::Open { b"hello" } else { b"reply" }).expect("memory");
        Flow::Continue
    });
    let mut other = bench.connect(handler);
    assert_eq!(other.read().0, b"hello", "before the first turn");
    other.write(b"x");
    bench.settle();
    assert_eq!(other.read().0, b"reply");
}

/// a peer that has gone before its connection is opened costs one opening, its bytes, one end and one close, in
/// this order.
#[test]
fn a_peer_that_goes_before_the_opening_is_told_of_behind_it() {
    for reset in [false, true] {
        let mut bench = Bench::new(LoopOptions::default());
        let handler = bench.notes.play("it", |call, io| {
            // Bytes that cannot arrive any more.
            io.output().write(b"x").expect("memory");
            if call == Call::Data {
                consume(io);
            }
            if call == Call::Eof { Flow::CloseWhenSent } else { Flow::Continue }
        });
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        theirs.set_nonblocking(true).expect("an option of sockets");
        std::io::Write::write_all(&mut ours, b"gone").expect("there is room");
        if reset {
            // Unread bytes at the closing end make it a reset for the other.
            std::io::Write::write_all(&mut &theirs, b"unread").expect("there is room");
        }
        drop(ours);
        bench.will_serve(handler);
        bench.attach(theirs);
        bench.settle();
        let calls: Vec<Call> = bench.calls().into_iter().map(|(_, call)| call).collect();
        assert_eq!((calls.first(), calls.last()), (Some(&Call::Open), Some(&Call::Closed)), "{calls:?}");
        for call in [Call::Open, Call::Data, Call::Eof, Call::Closed] {
            assert!(calls.iter().filter(|it| **it == call).count() <= 1, "{calls:?}");
        }
        assert_eq!(bench.metrics.connections(), 0);
    }
}

/// a handler that closes in its first call, or while it is given bytes, in either way, is told of the close once,
/// and of nothing else.
#[test]
fn closing_in_any_call_is_the_last_thing() {
    for when in [Call::Open, Call::Data] {
        for abort in [false, true] {
            let mut bench = Bench::new(LoopOptions::default());
            let handler = bench.notes.play("it", move |call, io| {
                if call != when {
                    return Flow::Continue;
                }
                io.output().write(b"last").expect("memory");
                if abort { Flow::Abort("as decided".into()) } else { Flow::CloseWhenSent }
            });
            let mut other = bench.connect(handler);
            // An aborted connection cannot be written to.
            let _ = std::io::Write::write_all(&mut other.0, b"unread");
            bench.settle();
            let expected: &[u8] = if abort { b"" } else { b"last" };
            let mut bytes = Vec::new();
            // Unread bytes make the close of an aborted connection a reset.
            let _ = std::io::Read::read_to_end(&mut other.0, &mut bytes);
            assert_eq!(bytes, expected, "closed in {when:?}");
            drop(other);
            bench.settle();
            let calls: Vec<Call> = bench.calls().into_iter().map(|(_, call)| call).collect();
            let opened = (when == Call::Data).then_some(Call::Open);
            let expected: Vec<Call> = opened.into_iter().chain([when, Call::Closed]).collect();
            assert_eq!(calls, expected);
        }
    }
}

/// half a request does not keep a loop from stopping, and neither does one that was received and not read.
#[test]
fn half_a_request_does_not_delay_a_stop() {
    let mut bench = Bench::new(LoopOptions::default());
    let half = Framed::new(Frame::default(), |_, _| Ok(()));
    let mut first = bench.connect(half);
    first.write(&[0, 0, 1]);
    let unread = bench.notes.play("unread", |call, io| {
        if call == Call::Drain {
            io.output().append(Segment::from(vec![4; 100])).expect("no memory is needed");
            return Flow::CloseWhenSent;
        }
        Flow::Continue
    });
    let mut second = bench.connect(unread);
    second.write(b"unread");
    bench.settle();
    bench.reactor.stopper().stop();
    bench.settle();
    assert_eq!(first.read(), (Vec::new(), true));
    assert_eq!(second.read(), (vec![4; 100], true));
    drop((first, second));
    assert!(bench.settle(), "the loop ends");
}
