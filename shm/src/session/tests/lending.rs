use linkpoll::buffer::{Chain, Segment};

use super::super::{Heard, Parked, Session, SessionError};
use super::{bytes, chain, drain, established, options, pair, pair_with_arena, receive, written};
use crate::handshake::Options;
use crate::slots::CHUNK;

/// Sends all of a chain, which must have room.
fn send(session: &mut Session, chain: &mut Chain) {
    let len = chain.len();
    assert_eq!(session.send_chain(chain).unwrap(), len);
    assert!(chain.is_empty());
}

#[test]
fn what_was_written_into_the_arena_is_lent_where_it_is() {
    let (mut a, mut b) = pair_with_arena();
    let tail = a.allocate(100_000).unwrap().unwrap();
    let segment = written(tail, 4, 100_000);
    assert!(a.lending.place(&segment).is_some(), "the bytes lie in the arena");
    let kept = segment.clone();
    let mut message = chain([Segment::copy_of(&bytes(0, 4)), segment]);
    send(&mut a, &mut message);
    let counters = *a.counters();
    assert_eq!((counters.bytes_lent, counters.bytes_copied_to_lend), (100_000, 0));
    assert_eq!((counters.records_sent, counters.loans_given), (2, 1));
    assert_eq!(drain(&mut b, 0), 100_004);
    assert_eq!(b.counters().loans_received, 1);
    assert_eq!((a.referred(), a.settled()), (1, 0));
    a.collect().unwrap();
    assert_eq!((a.counters().loans_returned, a.settled()), (1, 1));
    assert!(a.allocate(CHUNK).unwrap().is_none(), "a segment is left on this side");
    drop(kept);
    assert!(a.allocate(CHUNK).unwrap().is_some());
}

#[test]
fn large_bytes_from_elsewhere_are_copied_in_pieces_and_small_ones_go_through_the_ring() {
    let (mut a, mut b) = pair_with_arena();
    let mut message = chain([
        Segment::copy_of(&bytes(0, 10)),
        Segment::copy_of(&bytes(10, 3000)),
        Segment::copy_of(&bytes(3010, 200_000)),
        Segment::copy_of(&bytes(203_010, 10)),
    ]);
    send(&mut a, &mut message);
    let counters = *a.counters();
    assert_eq!((counters.bytes_lent, counters.loans_given), (0, 3), "{counters:?}");
    let through_the_ring = 200_020 + 3000 - counters.bytes_copied_to_lend;
    assert_eq!(through_the_ring, 10 + 3000 + 200_000 % (64 << 10) + 10, "the last piece is too small");
    assert_eq!(drain(&mut b, 0), 203_020);
    a.collect().unwrap();
    assert_eq!((a.counters().loans_returned, a.referred()), (3, 0));
}

#[test]
fn nobody_waits_for_an_arena() {
    let (mut a, mut b) = pair();
    let mut message = chain([Segment::copy_of(&bytes(0, 50_000))]);
    send(&mut a, &mut message);
    assert_eq!((a.counters().loans_given, a.counters().arenas), (0, 0), "it went through the ring");
    assert_eq!(drain(&mut b, 0), 50_000, "without a look at the socket");
    b.listen().unwrap();
    a.listen().unwrap();
    assert_eq!(a.counters().arenas, 1);
    let mut message = chain([Segment::copy_of(&bytes(50_000, 50_000))]);
    send(&mut a, &mut message);
    assert_eq!(a.counters().loans_given, 1);
    assert_eq!(drain(&mut b, 50_000), 50_000);
}

#[test]
fn a_peer_that_maps_nothing_is_lent_nothing_and_who_has_nothing_to_lend_shows_nothing() {
    let maps_nothing = established(&options(), &Options { arena: 0, ..options() });
    let has_nothing = established(&Options { lend: 0, ..options() }, &options());
    for (a, b) in [maps_nothing, has_nothing] {
        let (mut a, mut b) = (Session::new(a).unwrap(), Session::new(b).unwrap());
        assert!(a.allocate(5000).unwrap().is_none());
        b.listen().unwrap();
        a.listen().unwrap();
        assert!(a.allocate(5000).unwrap().is_none());
        assert_eq!(a.counters().arenas, 0);
        let mut message = chain([Segment::copy_of(&bytes(0, 50_000))]);
        send(&mut a, &mut message);
        assert_eq!(drain(&mut b, 0), 50_000);
    }
}

/// The ring is all there is when the arena is empty; and it has its bounds.
#[test]
fn a_peer_that_never_releases_costs_the_arena_and_no_more() {
    let (mut a, mut b) = pair();
    let mut held = 0;
    for _ in 0..20 {
        while let Some(tail) = a.allocate(CHUNK).unwrap() {
            let mut message = chain([written(tail, 0, CHUNK)]);
            assert_eq!(a.send_chain(&mut message).unwrap(), CHUNK);
            held += 1;
        }
        b.listen().unwrap();
        a.listen().unwrap();
    }
    assert_eq!((held, a.counters().arenas), (8, 8));
    let mut message = chain([Segment::copy_of(&bytes(CHUNK * 8, 300_000))]);
    let sent = a.send_chain(&mut message).unwrap();
    assert!(sent > 0 && sent < 64 << 10, "{sent} bytes went through the ring, until it was full");
    assert_eq!(a.park(true, Some(message.len())).unwrap(), Parked::Sleeping);
}

#[test]
fn copies_do_not_fill_the_arena() {
    let (mut a, _b) = pair_with_arena();
    let mut message = chain([Segment::copy_of(&bytes(0, 4 << 20))]);
    let sent = a.send_chain(&mut message).unwrap();
    assert_eq!(a.counters().bytes_copied_to_lend, 512 << 10);
    assert!(sent < (512 + 64) << 10, "{sent}");
    assert!(a.allocate(256 << 10).unwrap().is_some(), "there is memory left for what is written there");
}

#[test]
fn a_loan_is_received_in_parts() {
    let (mut a, mut b) = pair_with_arena();
    let tail = a.allocate(10_000).unwrap().unwrap();
    let mut message = chain([written(tail, 0, 10_000)]);
    send(&mut a, &mut message);
    let mut at = 0;
    for n in 1..=10 {
        assert!(b.is_pending() || b.has_news().unwrap());
        at += receive(&mut b, at, 1000).unwrap();
        assert_eq!(at, n * 1000);
        a.collect().unwrap();
        assert_eq!(a.counters().loans_returned, u64::from(n == 10), "it is released with its last byte");
    }
    assert!(!b.is_pending() && !b.has_news().unwrap());
}

#[test]
fn who_has_a_part_of_a_loan_does_not_sleep() {
    let (mut a, mut b) = pair_with_arena();
    let tail = a.allocate(10_000).unwrap().unwrap();
    send(&mut a, &mut chain([written(tail, 0, 10_000)]));
    assert_eq!(receive(&mut b, 0, 1000).unwrap(), 1000);
    assert_eq!(b.park(true, None).unwrap(), Parked::NotYet);
    assert_eq!(drain(&mut b, 1000), 9000);
    assert_eq!(b.park(true, None).unwrap(), Parked::Sleeping);
}

#[test]
fn only_who_waits_for_its_memory_is_woken_for_it() {
    let (mut a, mut b) = pair_with_arena();
    let mut at = 0;
    // All words are zero at first, so the first release rings in any case.
    for (waits, rings) in [(false, 1), (false, 0), (true, 1), (false, 0)] {
        let tail = a.allocate(10_000).unwrap().unwrap();
        send(&mut a, &mut chain([written(tail, at, 10_000)]));
        if waits {
            assert_eq!(a.park_for_releases().unwrap(), Parked::Sleeping);
        }
        assert_eq!(a.park(true, None).unwrap(), Parked::Sleeping);
        let before = b.counters().doorbells_sent;
        at += drain(&mut b, at);
        assert_eq!(b.counters().doorbells_sent - before, rings);
        if waits {
            assert_eq!(a.park_for_releases().unwrap(), Parked::NotYet);
        }
        a.collect().unwrap();
        assert_eq!(a.counters().loans_given, a.counters().loans_returned);
    }
}

#[test]
fn what_was_lent_is_received_when_the_lender_is_gone() {
    for ends in [true, false] {
        let (mut a, mut b) = pair_with_arena();
        let tail = a.allocate(CHUNK).unwrap().unwrap();
        send(&mut a, &mut chain([written(tail, 0, CHUNK)]));
        assert_eq!(receive(&mut b, 0, 1000).unwrap(), 1000);
        if ends {
            a.end().unwrap();
        }
        drop(a);
        while b.listen().unwrap() == Heard::More {}
        let mut at = 1000;
        while at < CHUNK {
            at += receive(&mut b, at, 200_000).unwrap();
        }
        let last = receive(&mut b, at, 1000);
        assert!(matches!((ends, &last), (true, Ok(0)) | (false, Err(SessionError::PeerGone))), "{last:?}");
    }
}

#[test]
fn lent_memory_outlives_its_session_where_somebody_has_it() {
    let (mut a, b) = pair_with_arena();
    let tail = a.allocate(10_000).unwrap().unwrap();
    let segment = written(tail, 0, 10_000);
    let kept = segment.clone();
    let tail = a.allocate(10_000).unwrap().unwrap();
    send(&mut a, &mut chain([segment]));
    drop((a, b));
    std::thread::spawn(move || {
        assert!(super::is_right(&kept, 0));
        assert!(super::is_right(&written(tail, 7, 10_000), 7));
    })
    .join()
    .unwrap();
}

#[test]
fn memory_of_another_session_is_copied() {
    let (mut a, mut b) = pair_with_arena();
    let (mut other, _its_peer) = pair_with_arena();
    let tail = other.allocate(50_000).unwrap().unwrap();
    send(&mut a, &mut chain([written(tail, 0, 50_000)]));
    assert_eq!((a.counters().bytes_lent, a.counters().bytes_copied_to_lend), (0, 50_000));
    assert_eq!(drain(&mut b, 0), 50_000);
}

/// One record and one doorbell where the peer sleeps.
#[test]
fn a_large_message_to_a_sleeper_rings_once() {
    let (mut a, mut b) = pair_with_arena();
    assert_eq!(b.park(true, None).unwrap(), Parked::Sleeping);
    let before = *a.counters();
    let mut message = chain([Segment::copy_of(&bytes(0, 64 << 10))]);
    send(&mut a, &mut message);
    assert_eq!(a.counters().doorbells_sent - before.doorbells_sent, 1);
    assert_eq!(a.counters().records_sent - before.records_sent, 1);
    assert_eq!(drain(&mut b, 0), 64 << 10);
}
