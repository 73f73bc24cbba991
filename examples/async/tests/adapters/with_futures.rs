//! Streams as those of `futures-io`, on an executor that knows no sockets.

use futures_lite::future::{block_on, poll_once, zip};
use futures_lite::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use linkpoll::net::Loops;
use linkpoll::stream::Options;

use crate::bed::{Bed, pattern};
use crate::peer;

/// Bytes go both ways, whole and in halves; what is given up loses nothing.
#[test]
fn bytes_go_both_ways() {
    let bed = Bed::new(Options { high: 5000, low: 500, ..Options::default() });
    let (peer, mut stream) = bed.connect();
    assert!(block_on(poll_once(stream.read(&mut [0; 9]))).is_none());
    peer::send(&peer, b"a line\n");
    let mut line = String::new();
    block_on(stream.read_line(&mut line)).expect("a line");
    assert_eq!(line, "a line\n");

    let bytes = pattern(13, 300_000);
    let (mut read, mut write) = stream.into_split();
    std::thread::scope(|scope| {
        let (sent, peer) = (&bytes, &peer);
        scope.spawn(move || {
            peer::send(peer, sent);
            peer.shutdown(std::net::Shutdown::Write).expect("the connection is there");
        });
        let reader = scope.spawn(move || peer::receive_all(peer));
        let mut received = Vec::new();
        let writing = async {
            write.write_all(&bytes).await.expect("it is read");
            write.flush().await.expect("it does nothing");
            write.close().await.expect("it is sent");
        };
        let reading = async { read.read_to_end(&mut received).await.expect("an orderly end") };
        block_on(zip(writing, reading));
        assert!(received == bytes);
        assert!(reader.join().expect("it reads") == bytes);
    });
}

/// A dialled connection is a stream as well, and so is an adopted one.
#[test]
fn dialled_and_adopted_connections_are_streams() {
    let bed = Bed::new(Options::default());
    let clients = Loops::builder().loops(1).start().expect("loops");
    let dialer = clients.dialer();
    let by_future = block_on(dialer.dial_stream([bed.server.address().clone()], Options::default()));
    let by_waiting = dialer.dial_stream([bed.server.address().clone()], Options::default()).wait();
    let (peer, _stream) = bed.connect();
    let adopted = dialer.adopt_stream(peer, Options::default()).expect("a socket").wait();
    for stream in [by_future, by_waiting, adopted] {
        let mut stream = stream.expect("it is established");
        block_on(stream.write_all(b"hello")).expect("room");
    }
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let refused = dialer.dial_stream([linkpoll::net::Address::Tcp(nobody)], Options::default());
    assert!(refused.wait().is_err());
    drop(dialer.dial_stream([bed.server.address().clone()], Options::default()));
}
