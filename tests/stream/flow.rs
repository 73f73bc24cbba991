//! Much, fast and slow: flow control in both directions.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use linkpoll::reactor::LoopOptions;
use linkpoll::stream::Options;

use crate::bed::{Bed, pattern, until};

/// Marks so small that every few bytes somebody waits.
fn narrow() -> Options {
    Options { high: 1000, low: 100, ..Options::default() }
}

/// Both directions carry much at once, in writes of all sizes, whatever the marks.
#[test]
fn much_goes_both_ways_at_once() {
    for (options, len) in [(Options::default(), 8 << 20), (narrow(), 300_000)] {
        let bed = Bed::new(options);
        let (peer, stream) = bed.connect();
        let (there, back) = (pattern(1, len), pattern(2, len));
        let (mut read, mut write) = stream.into_split();
        thread::scope(|scope| {
            let (there, back, peer) = (&there, &back, &peer);
            scope.spawn(move || {
                let mut peer = peer;
                peer.write_all(there).expect("it is read");
                peer.shutdown(Shutdown::Write).expect("the connection is there");
            });
            scope.spawn(move || {
                let sizes = [1, 10, 700, 3000, 100_000, 9, 17_000];
                let (mut rest, mut sizes) = (&back[..], sizes.iter().cycle());
                while !rest.is_empty() {
                    let n = rest.len().min(*sizes.next().expect("for ever"));
                    let n = write.write(&rest[..n]).expect("it is read");
                    rest = &rest[n..];
                }
                write.finish().expect("it is sent");
            });
            let reader = scope.spawn(move || {
                let mut received = Vec::new();
                read.read_to_end(&mut received).expect("an orderly end");
                received
            });
            let mut received = Vec::new();
            let mut peer = peer;
            peer.read_to_end(&mut received).expect("an orderly end");
            assert!(received == *back);
            assert!(reader.join().expect("it reads") == *there);
        });
        until("the connection is closed", || bed.connections() == 0);
    }
}

/// A reader that does not read stops its peer, whatever the size of what arrives; and gets everything later.
#[test]
fn a_reader_that_does_not_read_stops_its_peer() {
    // Small pieces, each with a pause behind it so that it arrives by itself, and large ones.
    for (piece, pause) in [(1, Duration::from_micros(200)), (1 << 20, Duration::ZERO)] {
        let bed = Bed::new(Options::default());
        let (mut peer, mut stream) = bed.connect();
        let metrics = bed.server.usage()[0].metrics.clone();
        let offered = pattern(7, 32 << 20);
        thread::scope(|scope| {
            let (offered, pauses) = (&offered, &metrics.pauses);
            let sender = scope.spawn(move || {
                peer.set_nodelay(true).expect("an option");
                let mut sent = 0;
                for part in offered.chunks(piece) {
                    peer.write_all(part).expect("it is read at last");
                    sent += part.len();
                    if pauses.get() > 0 && piece == 1 {
                        break;
                    }
                    thread::sleep(pause);
                }
                sent
            });
            until("receiving pauses", || metrics.pauses.get() > 0);
            let held = metrics.received.get();
            assert!(held <= 1 << 20, "{held} bytes are held for a reader that does not read");
            let mut received = Vec::new();
            stream.read_to_end(&mut received).expect("an orderly end");
            assert!(received == offered[..sender.join().expect("it sends")]);
        });
    }
}

/// A reader that has read everything keeps no peer waiting, also when it does something else from then on.
#[test]
fn a_reader_that_has_read_everything_keeps_no_peer_waiting() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    let metrics = bed.server.usage()[0].metrics.clone();
    peer.set_nodelay(true).expect("an option");
    let mut sent = 0;
    until("many small pieces pause it", || {
        peer.write_all(b"x").expect("room");
        sent += 1;
        metrics.pauses.get() > 0
    });
    stream.read_exact(&mut vec![0; sent]).expect("as many came");
    peer.write_all(&[1; 1000]).expect("room");
    let all = sent as u64 + 1000;
    until("the rest is received, though nobody reads", || metrics.received.get() == all);
}

/// What readers leave unread counts when the loop is over its memory budget.
#[test]
fn unread_bytes_count_for_the_budget() {
    let limits = LoopOptions { memory_limit: 2 << 20, ..LoopOptions::default() };
    let bed = Bed::with(Options { high: 64 << 20, ..Options::default() }, limits);
    let metrics = bed.server.usage()[0].metrics.clone();
    let sent = pattern(21, 16 << 20);
    let (mut peer, mut stream) = bed.connect();
    thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            peer.write_all(sent).expect("it is read at last");
        });
        until("the largest holder is held", || metrics.memory_holds.get() > 0);
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("an orderly end");
        assert!(received == *sent);
    });
}

/// A peer that does not read stops the writer: what waits is bounded by the marks.
#[test]
fn a_peer_that_does_not_read_stops_the_writer() {
    const OFFERED: usize = 64 << 20;
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    let metrics = bed.server.usage()[0].metrics.clone();
    stream.writer().set_write_timeout(Some(Duration::from_millis(300))).expect("not zero");
    let block = pattern(9, 1 << 16);
    let mut written = 0;
    while written < OFFERED {
        match stream.write(&block) {
            Ok(n) => written += n,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
                break;
            }
        }
    }
    let sent = usize::try_from(metrics.sent.get()).expect("a size");
    assert!(written < OFFERED, "it would have taken everything");
    assert!(written - sent <= 1 << 20, "{} bytes wait", written - sent);
    drop(stream);
    let copied = std::io::copy(&mut peer, &mut std::io::sink()).expect("an orderly end");
    assert_eq!(
        usize::try_from(copied).expect("a size"),
        written,
        "what was taken arrives, also after a drop"
    );
}

/// A writer of single bytes to a loop that cannot send them is stopped as well.
#[test]
fn single_bytes_do_not_pile_up() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("an orderly end");
        received
    });
    let bytes = pattern(11, 20_000);
    bytes.chunks(1).for_each(|byte| stream.write_all(byte).expect("room at last"));
    stream.writer().finish().expect("it is sent");
    assert!(reader.join().expect("it reads") == bytes);
}
