//! Every way in which a stream, half of it, or its connection ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use linkpoll::reactor::LoopOptions;
use linkpoll::stream::{Ended, Options};
use nix::sys::socket::{setsockopt, sockopt};

use crate::bed::{Bed, pattern, until, until_full};

fn why(error: &std::io::Error) -> Option<Ended> {
    error.get_ref().and_then(|it| it.downcast_ref()).copied()
}

/// Makes the socket's close a reset (socket(7), `SO_LINGER`).
fn reset(peer: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&peer, sockopt::Linger, &linger).expect("an option of sockets");
    drop(peer);
}

/// The peer ends its direction: the reader sees the end behind all bytes, and answers still go out.
#[test]
fn a_peer_may_end_its_direction() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    let request = pattern(1, 100_000);
    let sent = request.clone();
    let peer = std::thread::spawn(move || {
        peer.write_all(&sent).expect("it is read");
        peer.shutdown(Shutdown::Write).expect("the connection is there");
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).expect("an orderly end");
        answer
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("an orderly end");
    assert!(received == request);
    assert_eq!(stream.read(&mut [0; 10]).expect("it stays ended"), 0);
    stream.write_all(&request).expect("room");
    drop(stream);
    assert!(peer.join().expect("it reads") == request);
    until("the connection is closed", || bed.connections() == 0);
}

/// The writer ends its direction: the peer sees the end behind all bytes, and the reader still receives.
#[test]
fn a_writer_may_end_its_direction() {
    for by_drop in [false, true] {
        let bed = Bed::new(Options::default());
        let (mut peer, stream) = bed.connect();
        let (mut read, mut write) = stream.into_split();
        write.write_all(b"the last word").expect("room");
        if !by_drop {
            write.finish().expect("it is sent");
            write.finish().expect("once more does nothing");
            assert_eq!(write.write(b"!").expect_err("the end is written").kind(), ErrorKind::BrokenPipe);
        }
        drop(write);
        let mut heard = String::new();
        peer.read_to_string(&mut heard).expect("an orderly end");
        assert_eq!(heard, "the last word");
        peer.write_all(b"and yet").expect("it is read");
        drop(peer);
        heard.clear();
        read.read_to_string(&mut heard).expect("an orderly end");
        assert_eq!(heard, "and yet");
        until("the connection is closed", || bed.connections() == 0);
    }
}

/// Without a reader what arrives is thrown away, however much, and the writer goes on.
#[test]
fn a_writer_goes_on_without_its_reader() {
    let bed = Bed::new(Options::default());
    let (mut peer, stream) = bed.connect();
    let (read, mut write) = stream.into_split();
    peer.write_all(&[1; 1000]).expect("room");
    drop(read);
    peer.write_all(&vec![2; 4 << 20]).expect("it is thrown away");
    write.write_all(b"still here").expect("room");
    let mut heard = [0; 10];
    peer.read_exact(&mut heard).expect("an answer");
    assert_eq!(&heard, b"still here");
    drop(write);
    assert_eq!(peer.read(&mut heard).expect("an orderly end"), 0);
    until("the connection is closed", || bed.connections() == 0);
}

/// A reader that has stopped the connection, and goes away, does not stop it for ever.
#[test]
fn a_reader_that_goes_away_leaves_no_pause_behind() {
    let bed = Bed::new(Options { high: 1000, low: 100, ..Options::default() });
    let (mut peer, stream) = bed.connect();
    let (read, write) = stream.into_split();
    let metrics = bed.server.usage()[0].metrics.clone();
    let peer = std::thread::spawn(move || {
        peer.write_all(&vec![2; 8 << 20]).expect("it is thrown away");
        peer
    });
    until("receiving pauses", || metrics.pauses.get() > 0);
    drop(read);
    let mut peer = peer.join().expect("everything was taken");
    drop(write);
    assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
}

/// A reset is an error with its kind, for the reader behind all bytes, and for the writer.
#[test]
fn a_reset_is_told_to_both_halves() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    peer.write_all(b"famous last words").expect("room");
    let mut words = [0; 17];
    stream.read_exact(&mut words).expect("they came");
    reset(peer);
    let error = stream.read(&mut words).expect_err("it is reset");
    assert_eq!((error.kind(), why(&error)), (ErrorKind::ConnectionReset, stream.ended()));
    assert!(matches!(stream.ended(), Some(Ended::Broken(Some(_)))), "{:?}", stream.ended());
    let error = stream.write(b"anyone?").expect_err("it is reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(stream.writer().finish().is_err(), "not everything was sent to a peer that is gone");
    assert!(stream.read(&mut words).is_err(), "and so it stays");
}

/// A writer that waits for room is told of a reset, and so is one that waits until everything is sent.
#[test]
fn a_reset_ends_every_wait() {
    let bed = Bed::new(Options::default());
    let (peer, stream) = bed.connect();
    let (mut read, mut write) = stream.into_split();
    let reader = std::thread::spawn(move || read.read(&mut [0]));
    let writer = std::thread::spawn(move || {
        let failed = loop {
            if let Err(error) = write.write_all(&[0; 1 << 16]) {
                break error;
            }
        };
        (failed, write.wait_sent())
    });
    let metrics = bed.server.usage()[0].metrics.clone();
    until_full(|| metrics.sent.get());
    reset(peer);
    let (failed, sent) = writer.join().expect("it ends");
    assert_eq!(failed.kind(), ErrorKind::ConnectionReset);
    assert!(sent.is_err());
    assert_eq!(reader.join().expect("it ends").expect_err("it is reset").kind(), ErrorKind::ConnectionReset);
    until("the connection is closed", || bed.connections() == 0);
}

/// A stream can be aborted, by its handle.
#[test]
fn a_stream_can_be_aborted() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    stream.write_all(&vec![0; 100_000]).expect("room");
    stream.handle().abort();
    let error = stream.read(&mut [0]).expect_err("it is aborted");
    assert_eq!((error.kind(), why(&error)), (ErrorKind::ConnectionAborted, Some(Ended::Aborted)));
    assert_eq!(stream.write(&[0]).expect_err("it is aborted").kind(), ErrorKind::ConnectionAborted);
    // However it ends for the peer, it ends.
    drop(std::io::copy(&mut peer, &mut std::io::sink()));
}

/// A limit of the loop is an error of its kind.
#[test]
fn a_limit_is_told() {
    let limits = LoopOptions { idle_limit: Some(Duration::from_millis(50)), ..LoopOptions::default() };
    let bed = Bed::with(Options::default(), limits);
    let (_peer, mut stream) = bed.connect();
    let error = stream.read(&mut [0]).expect_err("nothing happens for too long");
    assert_eq!((error.kind(), why(&error)), (ErrorKind::TimedOut, Some(Ended::IdleExpired)));
}

/// A reader that is slow is not a message that does not arrive: the read limit is about the peer.
#[test]
fn a_slow_reader_is_not_closed_by_the_read_limit() {
    let limits = LoopOptions { read_limit: Some(Duration::from_millis(20)), ..LoopOptions::default() };
    let bed = Bed::with(Options { high: 1000, low: 100, ..Options::default() }, limits);
    let (mut peer, mut stream) = bed.connect();
    let bytes = pattern(5, 20_000);
    peer.write_all(&bytes).expect("the socket takes as much");
    drop(peer);
    let metrics = bed.server.usage()[0].metrics.clone();
    until("receiving pauses", || metrics.pauses.get() > 0);
    std::thread::sleep(Duration::from_millis(60));
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("an orderly end");
    assert!(received == bytes);
}

/// Streams that are dropped without a word leave nothing behind.
#[test]
fn a_dropped_stream_closes_its_connection() {
    let bed = Bed::new(Options::default());
    let mut peers: Vec<_> = (0..20).map(|_| bed.connect().0).collect();
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
    }
    drop(peers);
    until("the connections are closed", || bed.connections() == 0);
}
