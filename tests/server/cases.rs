//! Cases that every library of this kind must get right (A-14 and so on in docs/claims.md), as far as they are about
//! real sockets and no other file is about them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{CloseReason, Handle, SendFailure};
use linkpoll::driver::epoll::Trigger;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Frame, FrameOptions, Framed, Handler, Io, Peer};
use nix::sys::socket::{setsockopt, sockopt};

use crate::client::{Client, PATIENCE, addresses, any_port, until};
use crate::drivers::{Loops, Server};
use crate::recorder::{Recorder, Told, usual};

/// Gives its handle away, and reads whatever comes.
struct Holder(std::sync::mpsc::Sender<Handle>);

impl Handler for Holder {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        self.0.send(io.handle()).expect("the test listens");
        Flow::Continue
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        io.input().skip(n).expect("as many are there");
        Flow::Continue
    }
}

/// A server with so much room for unsent bytes, a client of it, and the handle of its connection.
fn held(most_unsent: usize, address: &linkpoll::net::Address) -> (Server, Client, Handle) {
    let (tell, told) = channel();
    let options = LoopOptions { most_unsent, ..LoopOptions::default() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(address, move |_: &Peer| Holder(tell.clone())).expect("a server");
    let client = Client::connect(server.address());
    let handle = told.recv_timeout(PATIENCE).expect("it is opened");
    (server, client, handle)
}

/// 10,000 writes of 256 bytes arrive complete and in order, in either direction.
#[test]
fn ten_thousand_small_writes_arrive_complete() {
    const WRITES: u32 = 10_000;
    let message = |n: u32| n.to_le_bytes().repeat(64);
    for address in addresses("small-writes") {
        let (server, mut client, handle) = held(64 << 20, &address);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..WRITES {
                    drop(handle.send(Chain::from(Segment::from(message(n)))));
                }
            });
            let mut read = vec![0; 256];
            for n in 0..WRITES {
                client.stream.read_exact(&mut read).expect("all of it arrives");
                assert!(read == message(n), "write {n}");
            }
            (0..WRITES).for_each(|n| client.write(&message(n)));
        });
        let metrics = &server.usage()[0].metrics;
        until("all of it is received", || metrics.received.get() == u64::from(WRITES) * 256);
        assert_eq!(metrics.sent.get(), u64::from(WRITES) * 256);
    }
}

/// 128 chains of 2 MB to a reader that is slow, and a close behind them: every receipt says sent, and the peer
/// gets all of it and then the end.
#[test]
fn large_chains_to_a_slow_reader_and_a_close_behind_them_succeed() {
    const CHAINS: usize = 128;
    const EACH: usize = 2 << 20;
    let (server, mut client, handle) = held(CHAINS * EACH, &any_port());
    let segment = Segment::from(vec![6; EACH]);
    let receipts: Vec<_> = (0..CHAINS).map(|_| handle.send(Chain::from(segment.clone()))).collect();
    handle.close();
    let reader = thread::spawn(move || {
        let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            match client.stream.read(&mut buffer).expect("an orderly end") {
                0 => return read,
                n => read += n,
            }
            if read % 7 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    receipts.into_iter().for_each(|receipt| receipt.wait().expect("it is sent"));
    assert_eq!(reader.join().expect("it reads"), CHAINS * EACH);
    until("it is closed", || server.usage()[0].metrics.closed_by.finished.get() == 1);
}

/// messages of 128 MB, and of half the size each time down to one byte, come back as they were sent.
#[test]
fn every_size_from_128_megabytes_to_one_byte_comes_back() {
    const LARGEST: u32 = 128 << 20;
    let frame = Frame::new(FrameOptions { max_payload: LARGEST });
    let make =
        move |_: &Peer| Framed::new(frame, |request, reply| Ok(reply.append_chain(request.into_chain())?));
    let server = Server::builder().loops(1).bind(&any_port(), make).expect("a server");
    let mut client = Client::connect(server.address());
    let mut writer = client.stream.try_clone().expect("a descriptor");
    let bytes: Vec<u8> = (0..=250_u8).cycle().take(LARGEST as usize).collect();
    let mut size = LARGEST;
    while size > 0 {
        thread::scope(|scope| {
            let (bytes, writer) = (&bytes[..size as usize], &mut writer);
            scope.spawn(move || {
                writer.write_all(&size.to_be_bytes()).expect("it is taken");
                writer.write_all(bytes).expect("it is taken");
            });
            assert!(client.reply() == bytes, "a message of {size} bytes");
        });
        size /= 2;
    }
}

/// with a socket that takes in almost nothing, a wait for bytes to be sent ends at its deadline, at once when that
/// has passed already, and can be repeated; and the bytes arrive all the same when the peer reads.
#[test]
fn waits_end_at_their_deadlines_and_can_be_repeated() {
    const MUCH: usize = 1 << 20;
    let (tell, told) = channel();
    let loops = Loops::builder().loops(1).start().expect("loops");
    let (mut peer, ours) = UnixStream::pair().expect("a pair of sockets");
    setsockopt(&ours, sockopt::SndBuf, &512).expect("an option of sockets");
    drop(loops.dialer().adopt(ours, move |_: &Peer| Holder(tell)).expect("a socket").wait().expect("a loop"));
    let handle = told.recv_timeout(PATIENCE).expect("it is opened");
    let mut receipt = handle.send(Chain::from(Segment::from(vec![5; MUCH])));
    assert!(receipt.wait_until(Instant::now()).is_none(), "a deadline that has passed");
    let begun = Instant::now();
    for limit in [10, 30] {
        assert!(receipt.wait_until(Instant::now() + Duration::from_millis(limit)).is_none());
    }
    assert!(begun.elapsed() >= Duration::from_millis(40), "too early");
    let reader = thread::spawn(move || {
        let mut read = vec![0; MUCH];
        peer.read_exact(&mut read).expect("all of it arrives");
        (peer, read)
    });
    assert!(matches!(receipt.wait_until(Instant::now() + PATIENCE), Some(Ok(()))));
    let (_peer, read) = reader.join().expect("it reads");
    assert!(read.iter().all(|byte| *byte == 5));
}

/// whatever is tried on a connection that is closed is an error or nothing, and never for somebody else.
#[test]
fn after_the_close_every_way_to_write_is_an_error() {
    let (server, client, handle) = held(64 << 20, &any_port());
    drop(client);
    handle.close();
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    until("the handle knows", || !handle.is_active());
    for size in [0, 1, 1 << 20] {
        let error = handle.send(Chain::from(Segment::from(vec![1; size]))).wait().expect_err("it is closed");
        assert_eq!((error.taken, error.why), (0, SendFailure::Closed));
    }
    handle.wake();
    handle.close();
    handle.resume();
    handle.abort();
    assert_eq!(server.usage()[0].metrics.closed.get(), 1);
}

/// when servers' handlers close first, handlers of dialled connections are told of the bytes, the end and the
/// close, once each and in this order, and so are those of the server; 10 connections, 6 messages each way.
#[test]
fn both_ends_are_told_when_the_server_closes_first() {
    const MESSAGES: usize = 6;
    for trigger in [Trigger::Level, Trigger::Edge] {
        let (tell, told) = channel();
        let closes_after_all = |told: &Told, io: &mut Io<'_>| match told {
            Told::Data(n) => {
                io.output().write(&vec![1; *n]).expect("memory");
                // A message is one byte.
                if *n == MESSAGES { Flow::CloseWhenSent } else { Flow::Continue }
            }
            _ => usual(told, io),
        };
        let builder = Server::builder().loops(2).trigger(trigger);
        let server = builder.bind(&any_port(), Recorder::maker(tell, closes_after_all)).expect("a server");
        let loops = Loops::builder().loops(2).trigger(trigger).start().expect("loops");
        let mut ends = Vec::new();
        for _ in 0..10 {
            let (tell, heard) = channel();
            let hook = |told: &Told, io: &mut Io<'_>| {
                if matches!(told, Told::Open) {
                    io.output().write(&[1; MESSAGES]).expect("memory");
                }
                usual(told, io)
            };
            let make = Recorder::maker(tell, hook);
            let dialling = loops.dialer().dial([server.address().clone()], move |peer: &Peer| make(peer));
            dialling.wait().expect("somebody listens");
            ends.push(heard);
        }
        for heard in ends {
            let calls: Vec<Told> = heard.iter().collect();
            let bytes: usize = calls.iter().map(|it| if let Told::Data(n) = it { *n } else { 0 }).sum();
            assert_eq!(bytes, MESSAGES);
            let mut rest = calls.iter().filter(|it| !matches!(it, Told::Data(_)));
            assert!(matches!(rest.next(), Some(Told::Open)));
            assert!(matches!(rest.next(), Some(Told::Eof)));
            assert!(matches!(rest.next(), Some(Told::Closed(CloseReason::PeerEnded))));
            assert!(rest.next().is_none());
        }
        drop(server);
        let calls: Vec<Told> = told.iter().collect();
        let closed = calls.iter().filter(|it| matches!(it, Told::Closed(CloseReason::Finished))).count();
        assert_eq!(closed, 10, "{calls:?}");
        assert!(!calls.iter().any(|it| matches!(it, Told::Eof)), "nothing is told behind a close");
    }
}
