//! Clauses about sending, and about the memory of what is sent.

use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::Driver as _;

use crate::{Bed, Peer, Rig, pattern};

const MOMENT: Duration = Duration::from_millis(20);
/// More than the system takes in before the peer reads.
const MUCH: usize = 8 << 20;

/// A chain whose pieces lie in blocks of their own.
fn in_pieces(bytes: &[u8], pieces: usize) -> Chain {
    let mut chain = Chain::new();
    chain.extend(bytes.chunks(bytes.len().div_ceil(pieces)).map(Segment::copy_of));
    chain
}

fn reads<P: Peer>(mut peer: P, n: usize) -> thread::JoinHandle<(P, Vec<u8>)> {
    thread::spawn(move || {
        let bytes = peer.read(n);
        (peer, bytes)
    })
}

/// The bytes told to be sent add up to those given, and the peer gets them.
pub fn sent_bytes_add_up<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, peer) = rig.pair_of(family);
        let sizes = [1, 0, 100, 65_536, 1, 1_000_000, 0, 7];
        let total: usize = sizes.iter().sum();
        let reader = reads(peer, total);
        let mut at = 0;
        for size in sizes {
            rig.send(key, &pattern(at, size));
            at += size;
            rig.turn(Duration::ZERO);
        }
        rig.until_sent(key);
        let (_peer, bytes) = reader.join().expect("the peer reads");
        assert!(bytes == pattern(0, total), "other bytes, or another order");
        // The audit fails at more.
        rig.linger(MOMENT);
        rig.finish();
    }
}

/// Bytes that are sent from where they are arrive among the others, in order and once, also while others wait.
pub fn bytes_sent_from_where_they_are_arrive_in_order<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, peer) = rig.pair_of(family);
        // Before the peer reads: the last ones find others waiting.
        let sizes = [1, 100, 65_536, MUCH, 1, 1000];
        let total: usize = sizes.iter().sum();
        let mut at = 0;
        for size in sizes {
            rig.send_bytes(key, &pattern(at, size));
            at += size;
        }
        let reader = reads(peer, total + 7);
        rig.until_sent(key);
        rig.send_bytes(key, &pattern(at, 7));
        rig.until_sent(key);
        let (_peer, bytes) = reader.join().expect("the peer reads");
        assert!(bytes == pattern(0, total + 7), "other bytes, or another order");
        rig.close(key);
        assert_eq!(rig.driver.send_bytes(key, &[1]), 0, "nobody has this key");
        rig.finish();
    }
}

/// A chain of any number of pieces arrives whole and in order.
pub fn any_number_of_pieces_arrives_in_order<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for pieces in [1, 2, 15, 16, 17, 64, 65, 1023, 1024, 1025, 2049, 5000] {
            let mut rig = Rig::new(bed);
            let (key, peer) = rig.pair_of(family);
            let total = pieces * 13;
            let chain = in_pieces(&pattern(0, total), pieces);
            assert_eq!(chain.pieces(), pieces);
            let reader = reads(peer, total);
            rig.send_chain(key, chain, None);
            rig.until_sent(key);
            let (_peer, bytes) = reader.join().expect("the peer reads");
            assert!(bytes == pattern(0, total), "{pieces} pieces");
            rig.finish();
        }
    }
}

/// A slow reader gets everything in order, in whatever pieces it was given while there was no room.
pub fn a_slow_reader_gets_everything_in_order<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        let mut at = 0;
        for pieces in [5000, 1, 1024, 3] {
            rig.send_chain(key, in_pieces(&pattern(at, MUCH / 4), pieces), None);
            at += MUCH / 4;
            rig.turn(Duration::ZERO);
        }
        assert!(rig.log(key).sent < MUCH as u64, "the system takes in more than this case reckons with");
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            while bytes.len() < MUCH {
                thread::sleep(Duration::from_micros(200));
                bytes.extend(peer.read_some(MUCH - bytes.len()).expect("the stream goes on"));
            }
            (peer, bytes)
        });
        rig.until_sent(key);
        let (_peer, bytes) = reader.join().expect("the peer reads");
        assert!(bytes == pattern(0, MUCH), "other bytes, or another order ({family:?})");
        rig.finish();
    }
}

/// A chain for which the socket has room is sent without waiting for room, however many pieces it has (V-9).
pub fn room_is_not_waited_for_while_there_is_some<B: Bed>(bed: &B) {
    for pieces in [1, 16, 33, 65, 1024, 1025, 3000] {
        if pieces * 16 > bed.room() {
            continue;
        }
        let mut rig = Rig::new(bed);
        let (key, peer) = rig.pair();
        rig.turn(Duration::ZERO);
        let watching = rig.driver.system_calls().control.get();
        rig.send_chain(key, in_pieces(&pattern(0, pieces * 16), pieces), None);
        rig.until_sent(key);
        rig.turn(Duration::ZERO);
        let changes = rig.driver.system_calls().control.get() - watching;
        assert_eq!(changes, 0, "changes of what is watched for {pieces} pieces of 16 bytes");
        drop(peer);
        rig.finish();
    }
}

/// Sending goes on after the peer has ended its direction.
pub fn sending_goes_on_after_the_peer_has_ended<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        peer.end();
        rig.until("the end", |rig| rig.log(key).ended);
        rig.linger(MOMENT);
        let reader = reads(peer, MUCH);
        rig.send_chain(key, in_pieces(&pattern(0, MUCH), 100), None);
        rig.until_sent(key);
        let (_peer, bytes) = reader.join().expect("the peer reads");
        assert!(bytes == pattern(0, MUCH), "other bytes, or another order");
        rig.finish();
    }
}

/// The peer sees the end after everything that was given to `send` before.
pub fn shutdown_comes_after_unsent_bytes<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for size in [0, 10, MUCH] {
            let mut rig = Rig::new(bed);
            let (key, mut peer) = rig.pair_of(family);
            rig.send(key, &pattern(0, size));
            rig.driver.shutdown(key);
            let reader = thread::spawn(move || {
                let bytes = peer.read_to_end();
                (peer, bytes)
            });
            rig.until_sent(key);
            rig.until("the peer sees the end", |_| reader.is_finished());
            let (_peer, bytes) = reader.join().expect("the peer reads");
            assert!(bytes == pattern(0, size), "{} of {size} bytes before the end", bytes.len());
            rig.finish();
        }
    }
}

/// Ending the sending direction does not end the other.
pub fn receiving_goes_on_after_shutdown<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        rig.driver.shutdown(key);
        rig.turn(Duration::ZERO);
        assert_eq!(peer.read_to_end(), b"");
        peer.write(&pattern(0, 1000));
        rig.until_received(key, 1000);
        peer.end();
        rig.until("the end", |rig| rig.log(key).ended);
        assert!(rig.log(key).received == pattern(0, 1000));
        rig.finish();
    }
}

/// A token is released once, and not before the bytes of its send are sent.
pub fn memory_is_released_once_when_it_was_sent<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, peer) = rig.pair();
    rig.send_chain(key, Segment::copy_of(b"small").into(), Some(1));
    rig.until("the small one is released", |rig| !rig.tokens.contains(&1));
    rig.send_chain(key, in_pieces(&pattern(0, MUCH), 10), Some(2));
    rig.send_chain(key, Segment::copy_of(b"behind").into(), Some(3));
    rig.send_chain(key, Segment::copy_of(b"without").into(), None);
    rig.send_chain(key, Segment::copy_of(b"last").into(), Some(4));
    rig.linger(MOMENT);
    assert!(rig.tokens.contains(&2), "released while most of it is not sent");
    assert!(rig.tokens.contains(&4), "released while most of what is before it is not sent");
    let reader = reads(peer, 5 + MUCH + 6 + 7 + 4);
    rig.until("all of them are released", |rig| rig.tokens.is_empty());
    rig.until_sent(key);
    drop(reader.join().expect("the peer reads"));
    rig.finish();
}

/// A token is released also when its chain is empty, with and without bytes before it.
pub fn memory_is_released_when_there_is_nothing_to_send<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, peer) = rig.pair();
    rig.send_chain(key, Chain::new(), Some(1));
    rig.until("the empty one is released", |rig| rig.tokens.is_empty());
    rig.send(key, &pattern(0, MUCH));
    rig.send_chain(key, Chain::new(), Some(2));
    let reader = reads(peer, MUCH);
    rig.until("the one behind bytes is released", |rig| rig.tokens.is_empty());
    rig.until_sent(key);
    drop(reader.join().expect("the peer reads"));
    rig.finish();
}

/// Tokens of unsent bytes are released by closing, and so are those of sends to a closed or unknown key.
pub fn memory_is_released_by_close<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, _peer) = rig.pair();
    rig.send_chain(key, in_pieces(&pattern(0, MUCH), 3), Some(1));
    rig.send_chain(key, Chain::new(), Some(2));
    rig.close(key);
    rig.send_chain(key, Segment::copy_of(b"late").into(), Some(3));
    rig.until("all of them are released", |rig| rig.tokens.is_empty() && rig.log(key).closed);
    let nobody = rig.key();
    rig.send_chain(nobody, Segment::copy_of(b"to nobody").into(), Some(4));
    rig.send_chain(key, Segment::copy_of(b"too late").into(), Some(5));
    rig.until("those of nobody are released", |rig| rig.tokens.is_empty());
    rig.finish();
}

/// Tokens of unsent bytes are released by detaching: the driver has let go of the memory.
pub fn memory_is_released_by_detach<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, _peer) = rig.pair();
    rig.send_chain(key, in_pieces(&pattern(0, MUCH), 3), Some(1));
    rig.send_chain(key, Chain::new(), Some(2));
    assert!(rig.driver.detach(key).is_some());
    rig.until("all of them are released", |rig| rig.tokens.is_empty());
    rig.finish();
}

/// Tokens of bytes that cannot be sent any more are released.
pub fn memory_is_released_by_an_error<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, peer) = rig.pair();
    rig.send_chain(key, in_pieces(&pattern(0, MUCH), 3), Some(1));
    rig.turn(Duration::ZERO);
    peer.reset();
    rig.until("the error", |rig| rig.log(key).error.is_some());
    rig.send_chain(key, Segment::copy_of(b"late").into(), Some(2));
    rig.until("both are released", |rig| rig.tokens.is_empty());
    rig.finish();
}

/// Bytes for a peer that is gone are an error, whether anything is received meanwhile or not; they never just vanish.
pub fn sending_to_a_peer_that_is_gone_fails<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for receiving in [true, false] {
            let mut rig = Rig::new(bed);
            let (key, peer) = rig.pair_of(family);
            rig.receive(key, receiving);
            rig.turn(Duration::ZERO);
            peer.reset();
            rig.linger(MOMENT);
            for _ in 0..100 {
                if rig.log(key).error.is_none() {
                    rig.send(key, b"is anybody there?");
                    rig.turn(Duration::from_millis(1));
                }
            }
            let what = format!("an error ({family:?}, receiving: {receiving})");
            rig.until(&what, |rig| rig.log(key).error.is_some());
            rig.finish();
        }
    }
}

/// Bytes for a peer that has ended first and has gone later are an error.
pub fn sending_fails_when_the_peer_goes_after_its_end<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        peer.end();
        rig.until("the end", |rig| rig.log(key).ended);
        rig.linger(MOMENT);
        drop(peer);
        rig.linger(MOMENT);
        for _ in 0..100 {
            if rig.log(key).error.is_none() {
                rig.send(key, b"is anybody there?");
                rig.turn(Duration::from_millis(1));
            }
        }
        rig.until("an error", |rig| rig.log(key).error.is_some());
        rig.finish();
    }
}
