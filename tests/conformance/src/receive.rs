//! Clauses about receiving.

use std::thread;
use std::time::Duration;

use linkpoll::buffer::Chain;
use linkpoll::driver::Driver as _;

use crate::{Bed, Family, Peer as _, Rig, pattern};

const MOMENT: Duration = Duration::from_millis(10);

/// Bytes arrive in order and whole, however they were written.
pub fn bytes_arrive_in_order_and_whole<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        let sizes = [1, 2, 3, 1000, 4096, 65_535, 65_536, 65_537, 300_000];
        let total = sizes.iter().sum();
        let writer = thread::spawn(move || {
            let mut at = 0;
            for size in sizes {
                peer.write(&pattern(at, size));
                at += size;
            }
            peer
        });
        rig.until_received(key, total);
        assert!(rig.log(key).received == pattern(0, total), "other bytes, or another order");
        drop(writer.join().expect("the peer writes"));
        rig.finish();
    }
}

/// All bytes come before the end, also when both are there before the driver looks for the first time.
pub fn bytes_come_before_the_end<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for size in [0, 1, 5000, 65_536, 100_000] {
            let mut rig = Rig::new(bed);
            let (key, mut peer) = rig.pair_of(family);
            peer.write(&pattern(0, size));
            peer.end();
            rig.until("the end", |rig| rig.log(key).ended);
            assert!(rig.log(key).received == pattern(0, size), "{} of {size}", rig.log(key).received.len());
            rig.finish();
        }
    }
}

/// The end is found although one turn does not get that far.
pub fn the_end_is_found_behind_more_than_one_turn_takes<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let (key, mut peer) = rig.pair_of(Family::Unix);
        let size = peer.fill();
        peer.end();
        waiting.push((key, peer, size));
    }
    for (key, _, size) in &waiting {
        rig.until("the end", |rig| rig.log(*key).ended);
        assert_eq!(rig.log(*key).received.len(), *size);
    }
    rig.finish();
}

/// The end is found when receiving was switched off and on again before the next wait, at any moment.
pub fn the_end_is_found_after_a_pause_within_a_turn<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for before in 0..4 {
            let mut rig = Rig::new(bed);
            let (key, mut peer) = rig.pair_of(family);
            peer.write(&pattern(0, 70_000));
            peer.end();
            rig.wait(rig.patience());
            for _ in 0..before {
                rig.step();
            }
            rig.receive(key, false);
            while rig.step() {}
            rig.receive(key, true);
            rig.until("the end", |rig| rig.log(key).ended);
            assert!(rig.log(key).received == pattern(0, 70_000), "not all of it");
            rig.finish();
        }
    }
}

/// The end is told once, and nothing is received after it.
pub fn the_end_is_told_once<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        peer.write(b"last");
        peer.end();
        rig.until("the end", |rig| rig.log(key).ended);
        assert_eq!(rig.log(key).received, b"last");
        // The audit fails at a second end.
        rig.linger(MOMENT);
        rig.receive(key, false);
        rig.linger(MOMENT);
        rig.receive(key, true);
        rig.linger(MOMENT);
        rig.finish();
    }
}

/// Switching receiving off and on, any number of times, loses nothing.
pub fn a_pause_loses_nothing<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        let total = 400_000;
        let writer = thread::spawn(move || {
            for at in (0..total).step_by(1000) {
                peer.write(&pattern(at, 1000));
            }
            peer.end();
            peer
        });
        for round in 0..200_u64 {
            rig.receive(key, round % 3 != 0);
            rig.turn(Duration::from_micros(round % 7 * 100));
            if round % 5 == 0 {
                rig.receive(key, false);
                rig.receive(key, true);
            }
        }
        rig.receive(key, true);
        rig.until("the end", |rig| rig.log(key).ended);
        assert!(rig.log(key).received == pattern(0, total), "bytes are missing, or in another order");
        drop(writer.join().expect("the peer writes"));
        rig.finish();
    }
}

/// While receiving is off nothing is received after the batch in which it was switched off.
pub fn nothing_is_received_during_a_pause<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        peer.write(b"before");
        rig.until_received(key, 6);
        rig.receive(key, false);
        rig.turn(Duration::ZERO);
        peer.write(b"meanwhile");
        // The audit fails at bytes.
        rig.linger(MOMENT);
        assert_eq!(rig.log(key).received, b"before");
        rig.receive(key, true);
        rig.until_received(key, 15);
        assert_eq!(rig.log(key).received, b"beforemeanwhile");
        rig.finish();
    }
}

/// A connection that is not received from does not keep the driver awake, whatever its peer has done.
pub fn a_pause_does_not_spin_when_the_peer_is_gone<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for (way, gone) in [("data", 0), ("end", 1), ("close", 2), ("reset", 3)] {
            let mut rig = Rig::new(bed);
            let (key, mut peer) = rig.pair_of(family);
            rig.receive(key, false);
            rig.turn(Duration::ZERO);
            peer.write(b"unread");
            let _held = match gone {
                0 => Some(peer),
                1 => {
                    peer.end();
                    Some(peer)
                }
                2 => None,
                _ => {
                    peer.reset();
                    None
                }
            };
            let short = rig.short_waits(10, MOMENT);
            assert!(short <= 3, "{short} of 10 waits were short after {way} ({family:?})");
            rig.finish();
        }
    }
}

/// Bytes that came before a hang-up can still be received when receiving is switched on again.
pub fn bytes_from_before_a_hangup_survive_a_pause<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        rig.receive(key, false);
        peer.write(b"unread");
        drop(peer);
        rig.linger(MOMENT);
        rig.receive(key, true);
        rig.until("the end", |rig| rig.log(key).ended);
        assert_eq!(rig.log(key).received, b"unread");
        rig.finish();
    }
}

/// A connection whose peer has ended its direction does not keep the driver awake, nor does one that has ended both.
pub fn an_ended_connection_does_not_spin<B: Bed>(bed: &B) {
    for &family in bed.families() {
        for both in [false, true] {
            let mut rig = Rig::new(bed);
            let (key, mut peer) = rig.pair_of(family);
            peer.end();
            rig.until("the end", |rig| rig.log(key).ended);
            if both {
                rig.driver.shutdown(key);
            }
            let short = rig.short_waits(10, MOMENT);
            assert!(short <= 3, "{short} of 10 waits were short ({family:?}, both ended: {both})");
            assert!(rig.log(key).error.is_none(), "an orderly end is no error");
            rig.finish();
        }
    }
}

/// A message that was announced comes in one block, up to one MiB.
pub fn a_wanted_message_comes_in_one_block<B: Bed>(bed: &B) {
    for n in [16 << 10, 70_000, 250_000, 1 << 20] {
        let mut rig = Rig::new(bed);
        if rig.driver.caps().receive_is_scarce {
            // It has no other memory than its buffers.
            return;
        }
        rig.keep = true;
        let (key, mut peer) = rig.pair();
        peer.write(b"head");
        rig.until_received(key, 4);
        drop(rig.segments(key));
        rig.driver.want(key, n);
        let writer = thread::spawn(move || {
            peer.write(&pattern(0, n));
            peer.write(b"next");
            peer
        });
        rig.until_received(key, 4 + n + 4);
        let mut message = Chain::new();
        message.extend(rig.segments(key));
        let message = message.split_to(n).expect("all of it has arrived");
        assert_eq!(message.pieces(), 1, "a message of {n} bytes lies in several blocks");
        drop((message, writer.join().expect("the peer writes")));
        assert!(rig.log(key).received[4..4 + n] == pattern(0, n), "other bytes");
        assert_eq!(&rig.log(key).received[4 + n..], b"next");
        rig.finish();
    }
}

/// A hint that turns out wrong costs nothing but memory.
pub fn a_wrong_hint_loses_nothing<B: Bed>(bed: &B) {
    for hint in [0, 1, 20_000, 40_000, 3 << 20, usize::MAX] {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair();
        for at in (0..300_000).step_by(30_000) {
            rig.driver.want(key, hint);
            peer.write(&pattern(at, 30_000));
            rig.until_received(key, at + 10_000);
        }
        peer.end();
        rig.until("the end", |rig| rig.log(key).ended);
        assert!(rig.log(key).received == pattern(0, 300_000), "hint {hint}");
        rig.finish();
    }
}

/// Urgent bytes (tcp(7)) are none of the stream's, and hide none of those around them: a receive ends at one although
/// more bytes are there. Nor do they keep the driver awake.
pub fn urgent_bytes_hide_no_others<B: Bed>(bed: &B) {
    for looked in [false, true] {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair();
        if looked {
            rig.turn(MOMENT);
        }
        // All of it is there before the driver looks again.
        peer.write(&pattern(0, 300));
        peer.urgent(b'!');
        peer.write(&pattern(300, 700));
        rig.until_received(key, 1000);
        peer.urgent(b'!');
        let short = rig.short_waits(10, MOMENT);
        assert!(short <= 3, "{short} of 10 waits were short after an urgent byte");
        peer.write(&pattern(1000, 10));
        peer.end();
        rig.until("the end", |rig| rig.log(key).ended);
        assert!(rig.log(key).received == pattern(0, 1010), "other bytes than those of the stream");
        rig.finish();
    }
}

/// A connection that the peer has reset is an error, not an end.
pub fn a_reset_is_an_error<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, peer) = rig.pair();
    rig.turn(Duration::ZERO);
    peer.reset();
    rig.until("the error", |rig| rig.log(key).error.is_some());
    assert!(!rig.log(key).ended);
    // The audit fails if more comes.
    rig.linger(MOMENT);
    rig.send(key, b"to nobody");
    rig.linger(MOMENT);
    rig.close(key);
    rig.until("the close", |rig| rig.log(key).closed);
    rig.finish();
}

/// A connection with more bytes than can be received does not starve the others.
pub fn a_busy_connection_leaves_room_for_others<B: Bed>(bed: &B) {
    const BUSY: usize = 64 << 20;
    let mut rig = Rig::new(bed);
    let (busy, mut peer) = rig.pair();
    let mut quiet: Vec<_> = (0..10).map(|_| rig.pair()).collect();
    let writer = thread::spawn(move || {
        let bytes = vec![b'x'; 1 << 18];
        for _ in 0..BUSY / bytes.len() {
            peer.write(&bytes);
        }
        peer
    });
    rig.until_received(busy, 1 << 20);
    for (_, peer) in &mut quiet {
        peer.write(b"q");
    }
    let before = rig.log(busy).received.len();
    for (key, _) in &quiet {
        rig.until_received(*key, 1);
    }
    let meanwhile = rig.log(busy).received.len() - before;
    assert!(meanwhile < BUSY / 4, "{meanwhile} bytes of the busy connection came first");
    rig.until_received(busy, BUSY);
    drop(writer.join().expect("the peer writes"));
    rig.finish();
}
