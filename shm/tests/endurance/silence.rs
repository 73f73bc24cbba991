//! Peers that do not read their socket.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use linkpoll_shm::handshake::{Established, Handshake, Options, Progress, accept};
use linkpoll_shm::region::OwnRegion;
use linkpoll_shm::ring::{self, Kind};
use linkpoll_shm::session::{Parked, Received, Room, Session};
use linkpoll_shm::slots::CHUNK;
use linkpoll_shm::storage::Mapped;
use linkpoll_shm::wire::{AddArena, Arrival, Frame};

use crate::bed::PATIENCE;

/// A session, and the other end of it.
fn establish() -> (Session, Established) {
    let options = Options { ring: 4 << 10, step: PATIENCE, ..Options::default() };
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let server = thread::spawn({
        let options = options.clone();
        move || accept(one.into(), &options).expect("a session")
    });
    let mut client = Handshake::client(other.into(), &options, Instant::now()).expect("a socket");
    let peer = loop {
        match client.advance(Instant::now()) {
            Progress::Done(established) => break *established,
            Progress::NeedRead => thread::yield_now(),
            other => panic!("{other:?}"),
        }
    };
    (Session::new(server.join().expect("no panic")).expect("the rings fit"), peer)
}

/// It asks for a doorbell each time, and takes none of them out of its socket. The socket is full at some time, which is no
/// failure, and takes no memory: everything goes on through the rings.
#[test]
fn a_peer_that_never_reads_its_socket_is_served_all_the_same() {
    let (mut session, Established { mut control, own, peer, agreed, .. }) = establish();
    let rings = Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize);
    let (mut producer, mut consumer) = ring::ends(rings.expect("they fit"));
    // More than a socket has room for (net.core.wmem_default, and what the kernel adds to each of them).
    for number in 0..5000_u32 {
        producer.push(Kind::Inline, &number.to_le_bytes()).expect("room");
        let _ = producer.publish();
        let mut bytes = [0; 2048];
        let received = session.receive(&mut Room { first: &mut bytes, second: &mut [] }, 1);
        assert!(matches!(received, Ok(Received::Copied(4))), "{received:?}");
        assert_eq!(session.park(true, None).expect("no error"), Parked::Sleeping);
        assert!(consumer.park().expect("no violation").may_sleep);
        assert_eq!(session.send(&mut &bytes[..4]).expect("no error"), 4);
        assert!(!session.wants_to_send(), "nothing waits for its socket");
        let mut reply = [0; 4];
        consumer.pop().expect("no violation").expect("a reply").copy_to(0, &mut reply);
        assert_eq!(u32::from_le_bytes(reply), number);
    }
    assert!(session.counters().doorbells_sent >= 5000, "it has asked for each of them");

    // What the socket has taken is there, and then no more.
    let mut bells = 0;
    loop {
        match control.receive() {
            Ok(Arrival::Bytes) => while control.take().expect("doorbells").is_some() {},
            Ok(Arrival::Nothing) => break,
            other => panic!("{other:?}"),
        }
        bells += 1;
    }
    assert!(bells > 0);
    drop(control);
    session.listen().expect("the end is no error");
    let gone = session.send(&mut &[0_u8][..]).expect_err("nobody reads");
    assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
}

/// It shows an arena, and reads no answer. That is found out between two looks at the socket, and is no error: what it has
/// published is received, and its end is an end.
#[test]
fn an_answer_that_nobody_reads_is_no_error() {
    let (mut session, Established { mut control, own, peer, agreed, .. }) = establish();
    let rings = Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize);
    let (mut producer, _consumer) = ring::ends(rings.expect("they fit"));
    producer.push(Kind::Inline, b"last words").expect("room");
    producer.end();
    let _ = producer.publish();
    let (_arena, memory) = OwnRegion::create(CHUNK).expect("memory");
    let arena = AddArena { number: 0, len: u32::try_from(CHUNK).expect("a mebibyte") };
    control.send(Frame::AddArena(arena, memory)).expect("it is sent");
    let socket = UnixStream::from(control.as_fd().try_clone_to_owned().expect("a descriptor"));
    socket.shutdown(Shutdown::Read).expect("a socket");

    session.listen().expect("no error");
    assert!(!session.wants_to_send(), "there is nothing to wait for: it would never be sent");
    socket.shutdown(Shutdown::Both).expect("a socket");
    session.listen().expect("no error");
    let mut bytes = [0; 2048];
    let mut receive = || session.receive(&mut Room { first: &mut bytes, second: &mut [] }, 2048);
    assert!(matches!(receive(), Ok(Received::Copied(10))));
    assert!(matches!(receive(), Ok(Received::End)));
}
