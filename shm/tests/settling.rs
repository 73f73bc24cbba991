//! Records without bytes of their own take room in the ring, too: traffic of nothing else must go on.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use linkpoll_shm::bulk::BulkBuffer;
use linkpoll_shm::handshake::{Established, Handshake, Options, Progress};
use linkpoll_shm::ring::{self, Kind, Producer};
use linkpoll_shm::session::{Received, Room, Session};
use linkpoll_shm::storage::{Mapped, Storage};
use linkpoll_shm::wire::{Bulk, Control, Frame};

/// Two ends with the smallest rings.
fn establish() -> (Session, Established) {
    let options = Options { ring: 4 << 10, step: Duration::from_secs(60), ..Options::default() };
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let server = thread::spawn({
        let options = options.clone();
        move || linkpoll_shm::handshake::accept(one.into(), &options).expect("a session")
    });
    let mut client = Handshake::client(other.into(), &options, std::time::Instant::now()).expect("a socket");
    let peer = loop {
        match client.advance(std::time::Instant::now()) {
            Progress::Done(established) => break *established,
            Progress::NeedRead => thread::yield_now(),
            other => panic!("{other:?}"),
        }
    };
    let ours = Session::new(server.join().expect("no panic"));
    (ours.expect("the rings fit"), peer)
}

/// Pushes a record for which there must be room once everything before it was consumed.
fn push(producer: &mut Producer<impl Storage>, kind: Kind, bytes: &[u8]) {
    producer.push(kind, bytes).expect("the consumer has told of the room that it has made");
    let _ = producer.publish();
}

/// Many times as many records as the ring holds, each consumed before the next, and the consumer never sleeps: it must tell
/// of the room all the same.
#[test]
fn records_of_sealed_memory_make_room() {
    let (mut session, peer) = establish();
    let Established { mut control, own, peer, agreed, .. } = peer;
    let rings =
        Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize).expect("they fit");
    let (mut producer, _consumer) = ring::ends(rings);
    for sequence in 0..2000 {
        give(&mut control, &mut producer, sequence);
        match session.receive(&mut Room { first: &mut [0; 2048], second: &mut [] }, 2048) {
            Ok(Received::Sealed(segment)) => assert_eq!(segment[..], sequence.to_le_bytes()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(session.counters().records_received, 2000);
}

fn give(control: &mut Control, producer: &mut Producer<impl Storage>, sequence: u32) {
    let mut memory = BulkBuffer::new(4).expect("memory");
    memory.bytes().copy_from_slice(&sequence.to_le_bytes());
    let fd = memory.seal().expect("nobody else has it").into_descriptor();
    control.send(Frame::Bulk(Bulk { sequence, len: 4 }, fd)).expect("it is sent");
    push(producer, Kind::Bulk, &[sequence.to_le_bytes(), 4_u32.to_le_bytes()].concat());
}

/// Records of no bytes at all: nothing is received, and everything goes on.
#[test]
fn empty_records_make_room() {
    let (mut session, peer) = establish();
    let Established { own, peer, agreed, control: _control, .. } = peer;
    let rings =
        Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize).expect("they fit");
    let (mut producer, _consumer) = ring::ends(rings);
    for _ in 0..5000 {
        push(&mut producer, Kind::Inline, &[]);
        let received = session.receive(&mut Room { first: &mut [0; 2048], second: &mut [] }, 2048);
        assert!(matches!(received, Ok(Received::Nothing)), "{received:?}");
    }
}
