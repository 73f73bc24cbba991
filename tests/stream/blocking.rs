//! The blocking traits, and what copies nothing.

use std::io::{BufRead as _, ErrorKind, IoSlice, Read as _, Write as _};
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::service::{Flow, Handler, Io, Peer};
use linkpoll::stream::{Options, Stream};

use crate::bed::{Bed, PATIENCE, pattern};
use crate::drivers::{Server, any_port, connect};

/// Bytes go both ways, through each of the methods.
#[test]
fn bytes_go_both_ways() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    peer.write_all(b"one line\nand a half").expect("room");
    let mut line = String::new();
    assert_eq!(stream.read_line(&mut line).expect("a line"), 9);
    assert_eq!(line, "one line\n");
    let mut half = [0; 10];
    stream.read_exact(&mut half).expect("the rest");
    assert_eq!(&half, b"and a half");
    assert_eq!(stream.read(&mut []).expect("nothing is asked for"), 0);

    stream.write_all(b"an ").expect("room");
    let parts = [IoSlice::new(b"answer"), IoSlice::new(b""), IoSlice::new(b" in parts")];
    assert_eq!(stream.write_vectored(&parts).expect("room"), 15);
    stream.writer().write_chain(Chain::from(Segment::copy_of(b", and a chain"))).expect("room");
    stream.flush().expect("it does nothing");
    stream.writer().wait_sent().expect("the transport takes it");
    let mut answer = [0; 31];
    peer.read_exact(&mut answer).expect("it arrives");
    assert_eq!(&answer, b"an answer in parts, and a chain");
    // What stands for a socket in another transport has no address of its own.
    if let Ok(own) = peer.local_addr() {
        assert_eq!(stream.peer().to_string(), own.to_string());
    }
}

/// What is taken out as chains and segments is what was sent.
#[test]
fn segments_are_taken_without_a_copy() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    let sent = pattern(3, 300_000);
    let received = std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            peer.write_all(sent).expect("it is read");
        });
        let mut received = Vec::new();
        while received.len() < sent.len() {
            let segment = stream.reader().next_segment().expect("bytes").expect("not the end");
            received.extend_from_slice(&segment);
            let mut chain = stream.reader().read_chain().expect("bytes, or the end");
            let n = chain.len();
            received.extend_from_slice(chain.next(n).expect("as many are there"));
        }
        received
    });
    assert!(received == sent);
    assert!(stream.reader().read_chain().expect("the end").is_empty());
    assert!(stream.reader().next_segment().expect("the end").is_none());
}

/// A call that takes too long fails, and what comes later is not lost.
#[test]
fn a_call_that_takes_too_long_loses_nothing() {
    let bed = Bed::new(Options::default());
    let (mut peer, mut stream) = bed.connect();
    let short = Some(Duration::from_millis(20));
    stream.reader().set_read_timeout(short).expect("not zero");
    assert_eq!(stream.reader().read_timeout(), short);
    assert_eq!(stream.read(&mut [0; 8]).expect_err("nothing comes").kind(), ErrorKind::TimedOut);
    stream.reader().set_read_timeout(None).expect("for ever");
    stream.reader().set_read_deadline(Some(Instant::now()));
    assert_eq!(stream.fill_buf().expect_err("the deadline has passed").kind(), ErrorKind::TimedOut);
    stream.reader().set_read_deadline(Some(Instant::now() + PATIENCE));
    peer.write_all(b"late").expect("room");
    let mut late = [0; 4];
    stream.read_exact(&mut late).expect("it came");
    assert_eq!(&late, b"late");
    let zero = stream.reader().set_read_timeout(Some(Duration::ZERO)).expect_err("as in std");
    assert_eq!(zero.kind(), ErrorKind::InvalidInput);

    // Nobody reads, so at some point there is no room.
    stream.writer().set_write_timeout(short).expect("not zero");
    let block = pattern(5, 64 << 10);
    let mut written = Vec::new();
    let error = loop {
        match stream.write(&block) {
            Ok(n) => written.extend_from_slice(&block[..n]),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let error = stream.writer().wait_sent().expect_err("nor can it be sent");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    stream.writer().set_write_timeout(None).expect("for ever");
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("an orderly end");
        received
    });
    stream.writer().finish().expect("it is sent now");
    assert!(reader.join().expect("it reads") == written, "what failed was not written, and the rest was");
}

/// Halves move to threads of their own, and are put together again.
#[test]
fn halves_work_on_threads_of_their_own() {
    let bed = Bed::new(Options::default());
    let (mut peer, stream) = bed.connect();
    let (mut read, mut write) = stream.into_split();
    let (_other_peer, other) = bed.connect();
    let (other_read, other_write) = other.into_split();
    let (read, write) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut bytes = [0; 5];
            read.read_exact(&mut bytes).expect("bytes");
            assert_eq!(&bytes, b"hello");
            read
        });
        let writer = scope.spawn(move || {
            write.write_all(b"HELLO").expect("room");
            write
        });
        peer.write_all(b"hello").expect("room");
        let mut bytes = [0; 5];
        peer.read_exact(&mut bytes).expect("bytes");
        assert_eq!(&bytes, b"HELLO");
        (reader.join().expect("it reads"), writer.join().expect("it writes"))
    });
    let parts = Stream::reunite(read, other_write).expect_err("of two streams");
    assert!(Stream::reunite(parts.0, write).is_ok());
    assert!(Stream::reunite(other_read, parts.1).is_ok());
}

/// A handler in the middle of a connection hands it off: what it has left comes first, what it wrote is sent.
#[test]
fn a_connection_is_handed_off_in_the_middle() {
    struct Greeting(std::sync::mpsc::Sender<Stream>);
    impl Handler for Greeting {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            if io.input().len() < 10 {
                return Flow::Continue;
            }
            io.input().skip(5).expect("as many are there");
            io.output().write(b"welcome, ").expect("memory");
            let (stream, flow) = Stream::hand_off(io, Options::default());
            self.0.send(stream).expect("the test waits");
            flow
        }
    }
    let (tell, streams) = std::sync::mpsc::channel();
    let server = Server::builder()
        .loops(1)
        .bind(&any_port(), move |_: &Peer| Greeting(tell.clone()))
        .expect("a server");
    let mut peer = connect(server.address());
    peer.write_all(b"hello").expect("room");
    peer.write_all(b"world").expect("room");
    peer.shutdown(std::net::Shutdown::Write).expect("the connection is there");
    let mut stream = streams.recv_timeout(PATIENCE).expect("it is handed off");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("what was left, and the end");
    assert_eq!(rest, "world");
    stream.write_all(b"stranger").expect("room");
    drop(stream);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("an orderly end");
    assert_eq!(answer, "welcome, stranger");
}
