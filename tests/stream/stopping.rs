//! Streams whose server stops, or is gone.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use linkpoll::reactor::LoopOptions;
use linkpoll::stream::{AtDrain, Ended, Options};

use crate::bed::Bed;

/// A stop looks like the peer's end: a stream that finishes then has sent everything, and the server ends by itself.
#[test]
fn a_stop_ends_reading_and_lets_answers_out() {
    let bed = Bed::with(
        Options::default(),
        LoopOptions { drain_limit: Duration::from_secs(600), ..LoopOptions::default() },
    );
    let (mut peer, mut stream) = bed.connect();
    peer.write_all(b"a request").expect("room");
    let mut request = [0; 9];
    stream.read_exact(&mut request).expect("it comes");
    let peer = std::thread::spawn(move || {
        let mut answer = String::new();
        peer.read_to_string(&mut answer).expect("an orderly end");
        answer
    });
    bed.server.stopper().stop();
    assert_eq!(stream.read(&mut request).expect("the end"), 0);
    stream.write_all(b"its answer").expect("room");
    stream.writer().finish().expect("it is sent");
    drop(stream);
    assert_eq!(peer.join().expect("it reads"), "its answer");
    bed.server.join().expect("the server ends");
}

/// A stream that does not finish is ended by the drain limit, with an error.
#[test]
fn a_stream_that_goes_on_is_ended_by_the_drain_limit() {
    for at_drain in [AtDrain::End, AtDrain::GoOn] {
        let limits = LoopOptions { drain_limit: Duration::from_secs(1), ..LoopOptions::default() };
        let bed = Bed::with(Options { at_drain, ..Options::default() }, limits);
        let (mut peer, mut stream) = bed.connect();
        bed.server.stopper().stop();
        if at_drain == AtDrain::GoOn {
            peer.write_all(b"x").expect("room");
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("it goes on");
            let error = stream.read(&mut byte).expect_err("and then it does not");
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        } else {
            assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
        }
        bed.server.join().expect("the server ends");
        assert_eq!(stream.ended(), Some(Ended::DrainExpired));
        assert_eq!(stream.write(b"x").expect_err("it is over").kind(), ErrorKind::ConnectionAborted);
        assert!(stream.writer().finish().is_err());
    }
}

/// A stream outlives its server: what came before can be read, and everything else is an error and does not wait.
#[test]
fn a_stream_outlives_its_server() {
    let bed = Bed::new(Options { at_drain: AtDrain::GoOn, ..Options::default() });
    let (mut peer, mut stream) = bed.connect();
    peer.write_all(b"from before").expect("room");
    assert!(stream.reader().wait_readable().expect("it comes"));
    bed.server.stopper().stop_now();
    bed.server.join().expect("the server ends");
    let mut before = [0; 11];
    stream.read_exact(&mut before).expect("it was received");
    assert_eq!(&before, b"from before");
    let (mut read, mut write) = stream.into_split();
    assert_eq!(read.read(&mut before).expect_err("no more").kind(), ErrorKind::ConnectionAborted);
    assert!(write.write(b"x").is_err() && write.wait_sent().is_err() && write.finish().is_err());
    assert!(write.ended().is_some() && !write.handle().is_active());
}
