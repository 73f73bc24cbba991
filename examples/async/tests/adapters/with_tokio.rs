//! Streams as tokio's: what is given up loses nothing, and many tasks share a runtime.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use linkpoll::stream::{Options, Stream};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use crate::bed::{Bed, pattern, until, until_full};
use crate::peer;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// Polls a future once, and gives it up.
fn give_up<F: Future>(future: F) -> Poll<F::Output> {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether bytes come back to an ordinary socket.
fn echoes(peer: &TcpStream, sent: &[u8]) -> bool {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            peer::send(peer, sent);
            peer.shutdown(Shutdown::Write).expect("the connection is there");
        });
        peer::receive_all(peer) == sent
    })
}

/// Many tasks of one thread echo much, at the same time.
#[test]
fn tasks_echo_much() {
    let bed = Bed::new(Options::default());
    let runtime = runtime();
    let peers: Vec<_> = (0..8)
        .map(|_| {
            let (peer, mut stream) = bed.connect();
            runtime.spawn(async move {
                let (mut from, mut to) = tokio::io::split(&mut stream);
                tokio::io::copy(&mut from, &mut to).await.expect("an orderly end");
                stream.shutdown().await.expect("it is sent");
            });
            peer
        })
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..)
            .zip(peers)
            .map(|(seed, peer)| scope.spawn(move || echoes(&peer, &pattern(seed, 1 << 20))))
            .collect();
        runtime.block_on(async {
            while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                tokio::task::yield_now().await;
            }
        });
        threads.into_iter().for_each(|thread| assert!(thread.join().expect("it echoes")));
    });
}

/// A read that is given up has taken nothing, and the next one is woken.
#[test]
fn a_read_that_is_given_up_loses_nothing() {
    let bed = Bed::new(Options::default());
    let (peer, mut stream) = bed.connect();
    let mut bytes = [0; 5];
    assert!(give_up(stream.read(&mut bytes)).is_pending());
    assert!(give_up(stream.fill_buf()).is_pending());
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        peer::send(&peer, b"first second");
        peer
    });
    runtime().block_on(async {
        assert_eq!(stream.fill_buf().await.expect("bytes")[0], b'f');
        stream.read_exact(&mut bytes).await.expect("bytes");
        assert_eq!(&bytes, b"first");
        stream.consume(1);
        // Given up when it is ready, too.
        assert!(matches!(give_up(stream.fill_buf()), Poll::Ready(Ok(b"second"))));
        let mut none = ReadBuf::new(&mut []);
        let read = tokio::io::AsyncRead::poll_read(
            Pin::new(&mut stream),
            &mut Context::from_waker(Waker::noop()),
            &mut none,
        );
        assert!(matches!(read, Poll::Ready(Ok(()))));
        let peer = late.join().expect("it writes");
        drop(peer);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("an orderly end");
        assert_eq!(rest, "second");
    });
}

/// Writes, and waits for the end of sending, that are given up are neither lost nor doubled.
#[test]
fn a_write_that_is_given_up_writes_nothing() {
    let bed = Bed::new(Options::default());
    let (peer, mut stream) = bed.connect();
    let block = pattern(3, 1 << 16);
    let mut written = Vec::new();
    until("there is no room for long", || {
        let mut refused = 0;
        while refused < 20 {
            match give_up(stream.write(&block)) {
                Poll::Ready(n) => written.extend_from_slice(&block[..n.expect("room")]),
                Poll::Pending => {
                    std::thread::sleep(Duration::from_millis(1));
                    refused += 1;
                }
            }
        }
        true
    });
    assert!(give_up(stream.writer().sent()).is_pending());
    assert!(give_up(stream.shutdown()).is_pending(), "it waits until everything is sent");
    assert!(give_up(stream.shutdown()).is_pending());
    let error = runtime().block_on(stream.write(b"x")).expect_err("the end is written");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let reader = std::thread::spawn(move || peer::receive_all(&peer));
    runtime().block_on(async {
        stream.shutdown().await.expect("it is sent");
        stream.flush().await.expect("it does nothing");
        assert!(stream.is_write_vectored());
    });
    assert!(reader.join().expect("it reads") == written);
}

/// A task that waits is woken by a reset, whatever it waits for.
#[test]
fn a_task_learns_of_a_reset() {
    let bed = Bed::new(Options::default());
    let (peer, stream) = bed.connect();
    let (mut read, mut write) = stream.into_split();
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&peer, nix::sys::socket::sockopt::Linger, &linger).expect("an option");
    let metrics = bed.server.usage()[0].metrics.clone();
    let resetting = std::thread::spawn(move || {
        until_full(|| metrics.sent.get());
        drop(peer);
    });
    runtime().block_on(async {
        let reading = async { read.read_u8().await.expect_err("it is reset").kind() };
        let writing = async {
            loop {
                if let Err(error) = write.write_all(&[0; 1 << 16]).await {
                    break error.kind();
                }
            }
        };
        let kinds = tokio::join!(reading, writing);
        assert_eq!(kinds, (ErrorKind::ConnectionReset, ErrorKind::ConnectionReset));
        assert!(write.shutdown().await.is_err());
    });
    resetting.join().expect("it resets");
}

/// A stream moves from one runtime to another in the middle of a wait.
#[test]
fn a_stream_moves_between_executors() {
    let bed = Bed::new(Options::default());
    let (peer, stream) = bed.connect();
    async fn half(mut stream: Stream, bytes: &mut [u8]) -> Stream {
        stream.read_exact(bytes).await.expect("bytes");
        stream
    }
    let mut bytes = [0; 2];
    let mut first = Box::pin(half(stream, &mut bytes));
    runtime().block_on(async {
        assert!(std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending())).await);
    });
    std::thread::scope(|scope| {
        let other = scope.spawn(move || drop(runtime().block_on(first)));
        peer::send(&peer, b"ab");
        other.join().expect("it reads");
    });
    assert_eq!(&bytes, b"ab");
}

/// A task whose stream is always ready lets others run.
#[test]
fn a_busy_task_lets_others_run() {
    let bed = Bed::new(Options::default());
    let (peer, mut stream) = bed.connect();
    peer::send(&peer, &[7; 10_000]);
    let mut waits = 0;
    let mut byte = [0];
    for _ in 0..1000 {
        let read = give_up(stream.read(&mut byte));
        waits += usize::from(read.is_pending());
    }
    assert!(waits >= 5, "1000 calls in a row");
    let drain = std::thread::spawn(move || peer::receive_all(&peer));
    let mut waits = 0;
    for _ in 0..300 {
        waits += usize::from(give_up(stream.write(&[1])).is_pending());
    }
    assert!(waits >= 2, "300 calls in a row");
    drop(stream);
    drain.join().expect("it reads");
}
