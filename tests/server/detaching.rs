//! Connections that leave their loop, with every byte, and go on elsewhere.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{CloseReason, DetachError, Detached, Handle, SendFailure};
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{Client, PATIENCE, addresses, any_port, echo, until};
use crate::drivers::{Loops, Server};

/// Gives its handle to the test, leaves everything unread, and tells its end.
struct Keeping {
    tell: Sender<Told>,
}

enum Told {
    Open(Handle),
    Data,
    Eof,
    Closed(CloseReason),
}

impl Handler for Keeping {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        drop(self.tell.send(Told::Open(io.handle())));
        Flow::Continue
    }

    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        drop(self.tell.send(Told::Data));
        Flow::Continue
    }

    fn eof(&mut self, _io: &mut Io<'_>) -> Flow {
        drop(self.tell.send(Told::Eof));
        Flow::Continue
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        drop(self.tell.send(Told::Closed(why)));
    }
}

fn keeping() -> (Server, Receiver<Told>) {
    let (tell, told) = channel();
    let make = move |_: &Peer| Keeping { tell: tell.clone() };
    (Server::builder().loops(1).bind(&any_port(), make).expect("a server"), told)
}

fn opened(told: &Receiver<Told>) -> Handle {
    match told.recv_timeout(PATIENCE) {
        Ok(Told::Open(handle)) => handle,
        _ => panic!("the first call is open"),
    }
}

fn closed(told: &Receiver<Told>) -> CloseReason {
    told.iter()
        .find_map(|it| if let Told::Closed(why) = it { Some(why) } else { None })
        .expect("it is closed")
}

fn bytes(chain: &Chain) -> Vec<u8> {
    chain.segments().flat_map(|segment| segment.iter().copied()).collect()
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect()
}

/// A handler's connection leaves in the middle of a message and of a reply: not a byte is lost in either direction, the
/// descriptor is an ordinary one, and its end is nobody else's.
#[test]
fn a_connection_leaves_with_every_byte() {
    const REPLY: usize = 8 << 20;
    struct Leaving(Sender<Detached>, Sender<CloseReason>);
    impl Handler for Leaving {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            if io.input().len() < 8 {
                return Flow::Continue;
            }
            io.input().skip(5).expect("as many are there");
            io.output().write(&pattern(REPLY)).expect("memory");
            let give = self.0.clone();
            Flow::detach(move |detached| give.send(detached).expect("the test waits"))
        }

        fn closed(self: Box<Self>, why: CloseReason) {
            self.1.send(why).expect("the test waits");
        }
    }
    for address in addresses("detached") {
        let ((give, given), (tell, told)) = (channel(), channel());
        let make = move |_: &Peer| Leaving(give.clone(), tell.clone());
        let server = Server::builder().loops(1).bind(&address, make).expect("a server");
        let mut client = Client::connect(server.address());
        client.write(b"helloyou");
        let detached = given.recv_timeout(PATIENCE).expect("it leaves");
        assert!(matches!(told.recv_timeout(PATIENCE), Ok(CloseReason::Detached)));
        assert_eq!(bytes(&detached.received), b"you");
        assert!(!detached.peer_ended && !detached.shut && !detached.unsent.is_empty());
        let metrics = &server.usage()[0].metrics;
        assert_eq!((metrics.connections(), metrics.closed_by.detached.get()), (0, 1));

        // A new connection gets the slot, and is not touched by what happens to the old one.
        let mut second = Client::connect(server.address());
        second.write(b"short");
        let mut plain = TcpStream::from(detached.fd);
        plain.set_nonblocking(false).expect("an option of sockets");
        let reader = thread::spawn(move || {
            let mut reply = vec![0; REPLY];
            client.stream.read_exact(&mut reply).expect("the reply");
            client.write(b" and more");
            (reply, client)
        });
        plain.write_all(&bytes(&detached.unsent)).expect("the client reads");
        let (reply, client) = reader.join().expect("the client reads");
        assert!(reply == pattern(REPLY), "other bytes, or another order");
        let mut more = [0; 9];
        plain.read_exact(&mut more).expect("an ordinary socket");
        assert_eq!(&more, b" and more");
        drop(client);
        assert_eq!(plain.read(&mut more).expect("an ordinary end"), 0);
        drop(plain);
        until("the second is still there", || server.usage()[0].metrics.connections() == 1);
        second.write(b"...");
        assert!(given.recv_timeout(PATIENCE).is_ok());
    }
}

/// A connection that is moved from loop to loop under load answers everything, once and in order.
#[test]
fn a_connection_can_be_moved_under_load() {
    const MESSAGES: u32 = 3000;
    const MOVES: usize = 60;
    let server = Server::builder().loops(2).bind(&any_port(), echo).expect("a server");
    let others = Loops::builder().loops(2).start().expect("loops");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let ours = TcpStream::from(std::os::fd::OwnedFd::from(ours));
    let mut client = Client::new(ours.try_clone().expect("a duplicate of the test's own end"));
    let _stays_open = ours.try_clone().expect("a duplicate of the test's own end");
    let writer = thread::spawn(move || {
        let mut writer = Client::new(ours);
        for n in 0..MESSAGES {
            writer.request(&n.to_be_bytes().repeat(1 + n as usize % 400));
        }
    });
    let reader = thread::spawn(move || {
        for n in 0..MESSAGES {
            assert!(client.reply() == n.to_be_bytes().repeat(1 + n as usize % 400), "reply {n}");
        }
    });
    let mut handle = server.dialer().adopt(theirs, echo).expect("a socket").wait().expect("it is taken in");
    let mut round = 0;
    while round < MOVES || !reader.is_finished() {
        round += 1;
        let detached = handle.detach().wait().expect("it is open");
        assert!(!handle.is_active());
        let dialer = if round % 2 == 0 { others.dialer() } else { server.dialer() };
        handle = dialer.take_over(detached, echo).wait().expect("it is taken over");
    }
    writer.join().expect("everything is written");
    reader.join().expect("everything is answered");
    handle.close();
}

/// What was sent through the handle is taken, or is with what has left; receipts say how much.
#[test]
fn receipts_say_what_left_with_the_connection() {
    const MUCH: usize = 8 << 20;
    let (server, told) = keeping();
    let mut client = Client::connect(server.address());
    let handle = opened(&told);
    let receipts =
        [handle.send(Segment::from(pattern(MUCH)).into()), handle.send(Chain::from(Segment::from(vec![7])))];
    let detached = handle.detach().wait().expect("it is open");
    let [first, second] = receipts.map(|receipt| receipt.wait().expect_err("nobody reads"));
    assert_eq!((first.why, second.why), (SendFailure::Detached, SendFailure::Detached));
    assert_eq!(second.taken, 0);
    assert_eq!(first.taken + detached.unsent.len(), MUCH + 1);
    let mut taken = vec![0; first.taken];
    client.stream.read_exact(&mut taken).expect("it was taken");
    taken.extend(bytes(&detached.unsent));
    assert!(taken[..MUCH] == pattern(MUCH) && taken[MUCH] == 7);
    assert!(matches!(closed(&told), CloseReason::Detached));
    assert_eq!(handle.send(Chain::from(Segment::from(vec![7]))).wait().expect_err("gone").taken, 0);
    assert_eq!(handle.detach().wait().expect_err("gone"), DetachError::Closed);
}

/// The ends of both directions go with a connection, and are taken over with it.
#[test]
fn the_ends_of_both_directions_are_told() {
    let (server, told) = keeping();
    let mut client = Client::connect(server.address());
    let handle = opened(&told);
    client.write(b"all there is");
    client.end();
    while !matches!(told.recv_timeout(PATIENCE), Ok(Told::Eof)) {}
    let detached = handle.detach().wait().expect("it is open");
    assert!(detached.peer_ended);
    let (tell, told) = channel();
    let make = move |_: &Peer| Keeping { tell };
    let handle = server.dialer().take_over(detached, make).wait().expect("it is taken over");
    let order: Vec<_> = (0..3).map(|_| told.recv_timeout(PATIENCE).expect("a call")).collect();
    assert!(matches!(order[..], [Told::Open(_), Told::Data, Told::Eof]));
    let detached = handle.detach().wait().expect("it is open");
    assert_eq!(bytes(&detached.received), b"all there is");
    drop(detached);
    assert!(client.read_to_end().is_empty());
}

/// A connection whose detaching nobody waits for is closed; one that is closed, or whose loop has ended, is told so.
#[test]
fn what_nobody_takes_is_closed() {
    let (server, told) = keeping();
    let mut client = Client::connect(server.address());
    drop(opened(&told).detach());
    assert!(client.read_to_end().is_empty());
    assert!(matches!(closed(&told), CloseReason::Detached));

    let _client = Client::connect(server.address());
    let handle = opened(&told);
    server.stopper().stop_now();
    server.join().expect("the server ends");
    let mut detaching = handle.detach();
    let answer = detaching.wait_until(Instant::now() + Duration::from_secs(10)).expect("an answer");
    assert_eq!(answer.expect_err("gone"), DetachError::Closed);
}
