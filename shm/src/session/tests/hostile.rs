//! Peers that own their region, and do in it what they like.

use std::os::fd::OwnedFd;

use linkpoll::buffer::Segment;

use super::super::{Memory, Received, Room, Session, SessionError};
use super::{chain, established, options, receive, written};
use crate::bulk::BulkBuffer;
use crate::handshake::Established;
use crate::region::{OwnRegion, Unfit};
use crate::ring::Kind;
use crate::slots::{self, Ends, Loan};
use crate::storage::Mapped;
use crate::violation::Violation;
use crate::wire::{AddArena, Bulk, Control, Frame, Refusal};

/// The peer: the socket and the ends of its side, with nothing that keeps it to the protocol.
struct Peer {
    control: Control,
    ends: Ends<Mapped<Memory>, Segment>,
    arenas: Vec<OwnRegion>,
}

const ARENA: u32 = 64 << 10;

fn scene() -> (Session, Peer) {
    let (victim, peer) = established(&options(), &options());
    let Established { control, own, peer, agreed, .. } = peer;
    let memory = Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize).unwrap();
    let peer = Peer { control, ends: slots::ends(memory), arenas: Vec::new() };
    (Session::new(victim).unwrap(), peer)
}

impl Peer {
    fn show(&mut self, number: u32, len: u32) {
        let (region, fd) = OwnRegion::create(len as usize).unwrap();
        self.arenas.push(region);
        self.send(number, len, fd);
    }

    fn send(&mut self, number: u32, len: u32, fd: OwnedFd) {
        self.control.send(Frame::AddArena(AddArena { number, len }, fd)).unwrap();
    }

    fn lend(&mut self, loan: Loan) {
        self.ends.producer.push(Kind::Lent, &loan.encode()).unwrap();
        let _ = self.ends.producer.publish();
    }

    /// All frames that the victim has sent.
    fn heard(&mut self) -> Vec<Frame<OwnedFd>> {
        drop(self.control.receive());
        std::iter::from_fn(|| self.control.take().unwrap()).collect()
    }
}

/// A victim that was shown one arena, and has mapped it.
fn scene_with_arena() -> (Session, Peer) {
    let (mut victim, mut peer) = scene();
    peer.show(0, ARENA);
    victim.listen().unwrap();
    assert!(matches!(peer.heard()[..], [Frame::ArenaReady(0)]));
    (victim, peer)
}

#[test]
fn a_loan_from_nowhere_ends_the_session() {
    let good = Loan { arena: 0, offset: 0, length: 10, ticket: 1 };
    let bad = [
        Loan { arena: 1, ..good },
        Loan { arena: u32::MAX, ..good },
        Loan { length: 0, ..good },
        Loan { length: ARENA + 1, ..good },
        Loan { offset: ARENA, ..good },
        Loan { offset: ARENA - 9, ..good },
        Loan { offset: u32::MAX, ..good },
        Loan { offset: 1, length: u32::MAX, ..good },
    ];
    for loan in bad {
        let (mut victim, mut peer) = scene_with_arena();
        peer.lend(loan);
        for _ in 0..2 {
            let error = receive(&mut victim, 0, 100).unwrap_err();
            assert!(matches!(error, SessionError::Violation(Violation::Loan)), "{loan}: {error:?}");
            assert!(matches!(victim.has_news(), Err(SessionError::Violation(Violation::Loan))), "latched");
        }
        victim.refuse(&Violation::Loan.into());
        assert!(matches!(peer.heard()[..], [Frame::Refused(Refusal::Violation)]));
    }
}

#[test]
fn a_loan_before_its_arena_ends_the_session() {
    let (mut victim, mut peer) = scene();
    peer.show(0, ARENA);
    peer.lend(Loan { arena: 0, offset: 0, length: 10, ticket: 1 });
    let error = receive(&mut victim, 0, 100).unwrap_err();
    assert!(matches!(error, SessionError::Violation(Violation::Loan)), "{error:?}");
}

/// More loans than tickets, all with the same one: nothing is overwritten but the victim's own releases.
#[test]
fn a_flood_of_loans_costs_the_victim_nothing() {
    let (mut victim, mut peer) = scene_with_arena();
    let mut at = 0;
    for _ in 0..5000 {
        peer.lend(Loan { arena: 0, offset: 0, length: 1, ticket: 7 });
        at += receive(&mut victim, 0, 100).unwrap();
    }
    assert_eq!(at, 5000);
}

/// What a peer does with its socket, and the error that it must cost.
type Case = (&'static str, fn(&mut Peer), fn(&SessionError) -> bool);

#[test]
fn arenas_that_must_not_be_shown_end_the_session() {
    let out_of_place: fn(&SessionError) -> bool = |error| matches!(error, SessionError::OutOfPlace);
    let too_much: fn(&SessionError) -> bool = |error| matches!(error, SessionError::TooMuchMemory);
    let unfit: fn(&SessionError) -> bool = |error| matches!(error, SessionError::Arena(_));
    let cases: [Case; 10] = [
        ("a number too early", |peer| peer.show(1, ARENA), out_of_place),
        (
            "a number twice",
            |peer| {
                peer.show(0, ARENA);
                peer.show(0, ARENA);
            },
            out_of_place,
        ),
        ("too large", |peer| peer.show(0, (8 << 20) + 4096), too_much),
        (
            "too much together",
            |peer| {
                peer.show(0, 8 << 20);
                peer.show(1, 4096);
            },
            too_much,
        ),
        ("too many", |peer| (0..65).for_each(|number| peer.show(number, 4096)), too_much),
        (
            "another length",
            |peer| {
                let (_, fd) = OwnRegion::create(4096).unwrap();
                peer.send(0, 8192, fd);
            },
            |error| matches!(error, SessionError::Arena(Unfit::Length { .. })),
        ),
        (
            "no length",
            |peer| {
                let (_, fd) = OwnRegion::create(4096).unwrap();
                peer.send(0, 0, fd);
            },
            unfit,
        ),
        (
            "not sealed",
            |peer| {
                let fd = crate::sys::create_memory().unwrap();
                crate::sys::allocate(std::os::fd::AsFd::as_fd(&fd), 4096).unwrap();
                peer.send(0, 4096, fd);
            },
            |error| matches!(error, SessionError::Arena(Unfit::Seals)),
        ),
        (
            "no memory",
            |peer| peer.send(0, 4096, std::fs::File::open("/dev/zero").unwrap().into()),
            |error| matches!(error, SessionError::Arena(Unfit::NotMemory)),
        ),
        (
            "readiness for what was not shown",
            |peer| {
                peer.control.send(Frame::ArenaReady(0)).unwrap();
            },
            out_of_place,
        ),
    ];
    for (name, act, is_expected) in cases {
        let (mut victim, mut peer) = scene();
        act(&mut peer);
        let error = (0..100).find_map(|_| victim.listen().err());
        assert!(error.as_ref().is_some_and(is_expected), "{name}: {error:?}");
    }
}

#[test]
fn readiness_is_believed_once_and_for_what_was_shown() {
    let (mut victim, mut peer) = scene();
    assert!(victim.allocate(5000).unwrap().is_none());
    peer.control.send(Frame::ArenaReady(0)).unwrap();
    victim.listen().unwrap();
    assert!(victim.allocate(5000).unwrap().is_some());
    peer.control.send(Frame::ArenaReady(0)).unwrap();
    assert!(matches!(victim.listen(), Err(SessionError::OutOfPlace)));
}

/// A victim that has lent two pieces by reference, and the tickets of them.
fn lender() -> (Session, Peer, [u32; 2]) {
    let (mut victim, mut peer) = scene();
    assert!(victim.allocate(5000).unwrap().is_none());
    assert!(matches!(peer.heard()[..], [Frame::AddArena(AddArena { number: 0, len: 0x10_0000 }, _)]));
    peer.control.send(Frame::ArenaReady(0)).unwrap();
    victim.listen().unwrap();
    let tickets = [0, 1].map(|_| {
        let tail = victim.allocate(5000).unwrap().unwrap();
        assert_eq!(victim.send_chain(&mut chain([written(tail, 0, 5000)])).unwrap(), 5000);
        let record = peer.ends.consumer.pop().unwrap().unwrap();
        Loan::decode(&record).unwrap().ticket
    });
    (victim, peer, tickets)
}

/// Which tickets come back, of the two that are lent.
type Junk = fn([u32; 2]) -> Vec<u32>;

#[test]
fn releases_of_what_is_not_lent_end_the_session() {
    let cases: [(&str, Junk); 5] = [
        ("unknown", |_| vec![77]),
        ("the largest", |_| vec![u32::MAX]),
        ("of another generation", |[one, _]| vec![one + 1024]),
        ("twice", |[one, _]| vec![one, one]),
        ("more than are lent", |[one, other]| vec![one, other, one]),
    ];
    for (name, junk) in cases {
        let (mut victim, mut peer, tickets) = lender();
        for ticket in junk(tickets) {
            peer.ends.borrower.release(ticket);
        }
        let _ = peer.ends.borrower.publish();
        for _ in 0..2 {
            let error = victim.collect().unwrap_err();
            let is_right = match &error {
                SessionError::Violation(Violation::Ticket { .. }) => true,
                SessionError::Violation(Violation::Released) => name == "more than are lent",
                _ => false,
            };
            assert!(is_right, "{name}: {error:?}");
        }
        assert!(victim.allocate(2 << 20).is_err(), "{name}: latched");
    }
}

#[test]
fn releases_in_another_order_are_good() {
    let (mut victim, mut peer, [one, other]) = lender();
    peer.ends.borrower.release(other);
    let _ = peer.ends.borrower.publish();
    victim.collect().unwrap();
    assert_eq!((victim.settled(), victim.counters().loans_returned), (0, 1));
    peer.ends.borrower.release(one);
    let _ = peer.ends.borrower.publish();
    victim.collect().unwrap();
    assert_eq!((victim.settled(), victim.counters().loans_returned), (2, 2));
}

#[test]
fn only_a_server_says_that_it_is_leaving() {
    let (mut client, mut server) = scene();
    server.control.send(Frame::GoAway).unwrap();
    client.listen().unwrap();
    assert!(client.is_leaving());
    let (client, server) = established(&options(), &options());
    let (mut client, mut server) = (client.control, Session::new(server).unwrap());
    client.send(Frame::GoAway).unwrap();
    assert!(matches!(server.listen(), Err(SessionError::OutOfPlace)));
    assert!(!server.is_leaving());
}

fn sealed(len: usize) -> OwnedFd {
    let mut buffer = BulkBuffer::new(len).unwrap();
    buffer.bytes().fill(9);
    buffer.seal().unwrap().into_descriptor()
}

fn bulk_record(sequence: u32, len: u32) -> Vec<u8> {
    [sequence.to_le_bytes(), len.to_le_bytes()].concat()
}

fn receive_once(session: &mut Session) -> Result<Received, SessionError> {
    let mut block = vec![0; session.least_room()];
    session.receive(&mut Room { first: &mut block, second: &mut [] }, 100)
}

#[test]
fn sealed_memory_is_found_behind_all_that_is_in_the_socket() {
    let (mut victim, mut peer) = scene();
    for number in 0..8 {
        peer.show(number, ARENA);
        peer.control.ring().unwrap();
    }
    peer.control.send(Frame::Bulk(Bulk { sequence: 0, len: 5000 }, sealed(5000))).unwrap();
    peer.ends.producer.push(Kind::Bulk, &bulk_record(0, 5000)).unwrap();
    let _ = peer.ends.producer.publish();
    match receive_once(&mut victim).unwrap() {
        Received::Sealed(segment) => assert_eq!(&segment[..], &[9; 5000]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_of_sealed_memory_that_never_came_end_the_session() {
    let frame = |sequence, len| Frame::Bulk(Bulk { sequence, len }, sealed(len as usize));
    let cases: [(Option<Frame<OwnedFd>>, Vec<u8>); 6] = [
        (None, bulk_record(0, 5000)),
        (Some(frame(0, 5000)), bulk_record(1, 5000)),
        (Some(frame(1, 5000)), bulk_record(0, 5000)),
        (Some(frame(0, 5000)), bulk_record(0, 4999)),
        (Some(frame(0, 5000)), bulk_record(0, 5000)[..7].to_vec()),
        (Some(frame(0, 5000)), vec![0; 9]),
    ];
    for (number, (frame, record)) in cases.into_iter().enumerate() {
        let (mut victim, mut peer) = scene();
        if let Some(frame) = frame {
            peer.control.send(frame).unwrap();
        }
        peer.ends.producer.push(Kind::Bulk, &record).unwrap();
        let _ = peer.ends.producer.publish();
        let error = receive_once(&mut victim).unwrap_err();
        let is_right =
            matches!(error, SessionError::Bulk(_) | SessionError::Violation(Violation::Length { .. }));
        assert!(is_right, "{number}: {error:?}");
        assert!(receive_once(&mut victim).is_err(), "{number}: it is over for good");
    }
}
