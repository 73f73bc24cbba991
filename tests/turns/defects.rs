//! Defects that other libraries have had for long, as far as they need one exact order of events (V-1 and so on in
//! docs/claims.md). Each says what breaks it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Instant;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{CloseReason, Handle, Receipt};
use linkpoll::reactor::{LoopOptions, StopWord, Turn};
use linkpoll::service::Flow;
use linkpoll::sync::Arc;

use crate::bench::{Bench, Other};
use crate::playing::{Call, consume};

/// A connection that goes on whatever comes, and its handle.
fn connect(bench: &mut Bench) -> (Other, Handle) {
    let (tell, told) = channel();
    let handler = bench.notes.play("it", move |call, io| {
        consume(io);
        if call == Call::Open {
            tell.send(io.handle()).expect("the test listens");
        }
        Flow::Continue
    });
    let other = bench.connect(handler);
    (other, told.recv().expect("it was opened"))
}

fn send(handle: &Handle, byte: u8, n: usize) -> Receipt {
    handle.send(Chain::from(Segment::from(vec![byte; n])))
}

/// Whether it is known by now that a chain was sent. It is asked no more then.
fn is_sent(receipt: &mut Option<Receipt>) -> bool {
    let answer = receipt.as_mut().map(|it| it.wait_until(Instant::now()));
    match answer {
        Some(Some(answer)) => {
            answer.expect("the connection is open");
            *receipt = None;
            true
        }
        Some(None) => false,
        None => true,
    }
}

/// V-1: somebody waits for bytes until a deadline, gives up, and sends more. The news that the first bytes have been
/// sent after all must not be taken for news of the second: a receipt says that bytes are sent when *those* are.
/// Broken by a receipt that is answered by the next progress, whatever it is of; by one that counts from the bytes
/// sent and not from the bytes queued; by a late answer that is kept for whoever waits next.
#[test]
fn a_late_answer_is_not_taken_for_that_of_later_bytes() {
    const MUCH: usize = 4 << 20;
    /// More than lies in a socket.
    const IN_SOCKET: usize = 1 << 20;
    for given_up in [false, true] {
        let mut bench = Bench::new(LoopOptions::default());
        let (mut other, handle) = connect(&mut bench);
        let mut first = Some(send(&handle, 1, MUCH));
        bench.settle();
        assert!(!is_sent(&mut first), "nobody reads");
        if given_up {
            first = None;
        }
        let (mut second, mut third) = (Some(send(&handle, 2, MUCH)), Some(send(&handle, 3, 10)));
        bench.settle();
        let mut read = Vec::new();
        while read.len() < 2 * MUCH + 10 {
            let (bytes, ended) = other.read();
            assert!(!ended);
            read.extend(bytes);
            bench.settle();
            if read.len() + IN_SOCKET < 2 * MUCH {
                assert!(!is_sent(&mut second), "told to be sent when {} bytes were read", read.len());
                assert!(!is_sent(&mut third));
            }
        }
        assert_eq!(read.last(), Some(&3));
        assert!(is_sent(&mut first) && is_sent(&mut second) && is_sent(&mut third));
    }
}

/// V-3: a connection leaves its loop while news of it is on the way: bytes, a wake, a close through its handle. Its slot
/// is used again, and then its peer hangs up: the descriptor works as any other, and nobody else's connection is closed
/// or called. Broken by a loop that goes on to watch what has left, or that takes what comes for it for its slot's next
/// user.
#[test]
fn a_connection_that_has_left_disturbs_nobody() {
    for round in 0..20 {
        let mut bench = Bench::new(LoopOptions::default());
        let (mut other, handle) = connect(&mut bench);
        let (_neighbour, _) = connect(&mut bench);
        bench.settle();
        if round % 2 == 0 {
            other.write(b"on the way");
        }
        handle.wake();
        let detaching = handle.detach();
        handle.close();
        handle.abort();
        let late = send(&handle, 9, 5);
        bench.turn();
        let detached = detaching.wait().expect("it is open");
        assert!(late.wait().is_err(), "behind the detachment");
        let (mut next, _) = connect(&mut bench);
        bench.settle();
        bench.calls();
        // An ordinary socket, with nobody else at it.
        let mut left = UnixStream::from(detached.fd);
        left.set_nonblocking(false).expect("an option of sockets");
        left.write_all(b"by hand").expect("there is room");
        assert_eq!(other.read(), (b"by hand".to_vec(), false));
        let mut received = detached.received.len();
        if round % 2 == 0 {
            received += left.read(&mut vec![0; 10 - received]).expect("it is connected");
            assert_eq!(received, 10);
        }
        let reports = bench.clock.reports();
        drop(other);
        bench.settle();
        assert_eq!(bench.clock.reports(), reports, "it is still watched");
        assert_eq!(left.read(&mut [0]).expect("the end"), 0);
        drop(left);
        bench.settle();
        assert_eq!(bench.calls(), [], "somebody else was called");
        assert_eq!(bench.metrics.connections(), 2);
        next.write(b"x");
        bench.settle();
        assert_eq!(bench.calls(), [("it", Call::Data)]);
    }
}

/// V-5: a close behind chains of several threads comes when all of them are sent, over and over; none is dropped
/// between the queue and the socket. Broken by a close that overtakes what is queued, or that does not wait until
/// what was taken from the queue has left.
#[test]
fn a_close_comes_behind_everything_that_was_sent() {
    const CHAINS: usize = 16;
    for round in 0..200 {
        // Small ones are all sent at once; large ones wait for room, and the close must wait for them.
        let each = if round % 10 == 0 { 64 << 10 } else { 11 };
        let mut bench = Bench::new(LoopOptions::default());
        let (mut other, handle) = connect(&mut bench);
        let receipts: Vec<Receipt> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4_u8)
                .map(|thread| {
                    let handle = &handle;
                    scope.spawn(move || {
                        (0..CHAINS / 4).map(|_| send(handle, thread, each)).collect::<Vec<_>>()
                    })
                })
                .collect();
            senders.into_iter().flat_map(|it| it.join().expect("it only sends")).collect()
        });
        handle.close();
        bench.settle();
        let mut bytes = Vec::new();
        loop {
            let (more, ended) = other.read();
            let quiet = more.is_empty();
            bytes.extend(more);
            if ended {
                break;
            }
            assert!(!quiet, "neither bytes nor the end in round {round}");
            bench.settle();
        }
        for thread in 0..4 {
            let sent = bytes.iter().filter(|byte| **byte == thread).count();
            assert_eq!(sent, CHAINS * each / 4, "round {round}");
        }
        assert!(receipts.into_iter().all(|receipt| receipt.wait().is_ok()));
    }
}

/// V-6: a panic in what one connection has queued for the loop does not wedge the queue: what others have queued is
/// done, and a stop still ends the loop. Broken by a queue whose "somebody is at work" mark survives a panic.
#[test]
fn a_panic_in_queued_work_does_not_wedge_the_queue() {
    let mut bench = Bench::new(LoopOptions::default());
    let (tell, told) = channel();
    let panics = bench.notes.play("panics", move |call, io| match call {
        Call::Open => {
            tell.send(io.handle()).expect("the test listens");
            Flow::Continue
        }
        _ => std::panic::resume_unwind(Box::new("on purpose")),
    });
    let _first = bench.connect(panics);
    let panics = told.recv().expect("it was opened");
    let (mut other, handle) = connect(&mut bench);
    bench.settle();
    // In one batch: a panic among things for somebody else, before and behind it.
    let before = send(&handle, 1, 5);
    panics.wake();
    let never = send(&panics, 9, 5);
    let after = send(&handle, 2, 5);
    handle.wake();
    bench.settle();
    assert_eq!(other.read(), (vec![1, 1, 1, 1, 1, 2, 2, 2, 2, 2], false));
    assert!(before.wait().is_ok() && after.wait().is_ok());
    assert!(never.wait().is_err(), "its connection has ended");
    assert!(bench.calls().contains(&("it", Call::Woken)));
    assert!(matches!(bench.reason(), Some(CloseReason::Panicked)));
    bench.reactor.stopper().stop_now();
    assert!(bench.settle(), "the loop ends");
}

/// V-7: a stop that comes before the loop exists, or has made its first turn, is not lost: the loop ends, and connections that it
/// was given before are drained. Broken by a loop that takes the word as it finds it for the word at its beginning, or
/// that resets it when it begins to serve.
#[test]
fn a_stop_before_the_first_turn_is_not_lost() {
    for (connections, exists) in [(0, true), (3, true), (0, false), (3, false)] {
        let word: Arc<StopWord> = Arc::default();
        let another = Bench::with_word(LoopOptions::default(), Arc::clone(&word));
        if !exists {
            another.reactor.stopper().stop();
        }
        let mut bench = Bench::with_word(LoopOptions::default(), word);
        if exists {
            bench.reactor.stopper().stop();
            bench.reactor.stopper().stop();
        }
        let mut others = Vec::new();
        for _ in 0..connections {
            let polite = bench.notes.play("polite", |call, _| match call {
                Call::Drain => Flow::CloseWhenSent,
                _ => Flow::Continue,
            });
            others.push(bench.connect(polite));
        }
        bench.turn();
        drop(others);
        assert!(bench.settle() || bench.turn() == Turn::Finished, "it serves for ever");
        let calls = bench.calls();
        assert_eq!(calls.iter().filter(|(_, call)| *call == Call::Drain).count(), connections);
        assert_eq!(bench.metrics.connections(), 0);
    }
}
