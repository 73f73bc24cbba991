//! Clauses about a driver that has little memory.

use std::thread;
use std::time::Duration;

use linkpoll::driver::{Driver as _, Key};

use crate::{Bed, Peer as _, Rig, pattern};

/// Little, but enough for a few blocks.
const LITTLE: usize = 256 << 10;
const EACH: usize = 150_000;
const MOMENT: Duration = Duration::from_millis(20);

/// Connections whose peers write more than there is memory for, in a rig that keeps all of it.
fn starving<B: Bed>(bed: &B) -> (Rig<'_, B>, Vec<Key>, Vec<thread::JoinHandle<B::Peer>>) {
    let mut rig = Rig::with_memory(bed, LITTLE);
    rig.keep = true;
    let mut keys = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..4 {
        let (key, mut peer) = rig.pair();
        keys.push(key);
        writers.push(thread::spawn(move || {
            peer.write(&pattern(0, EACH));
            peer.end();
            peer
        }));
    }
    (rig, keys, writers)
}

fn received<B: Bed>(rig: &Rig<'_, B>, keys: &[Key]) -> usize {
    keys.iter().map(|key| rig.log(*key).received.len()).sum()
}

/// Turns until nothing more comes: the memory is used up.
fn starve<B: Bed>(rig: &mut Rig<'_, B>, keys: &[Key]) {
    loop {
        let before = received(rig, keys);
        rig.linger(MOMENT);
        if received(rig, keys) == before && before > 0 {
            break;
        }
    }
    assert!(received(rig, keys) <= LITTLE, "more than the memory there is");
    let short = rig.short_waits(5, MOMENT);
    assert!(short <= 2, "{short} of 5 waits were short while there was no memory");
}

fn all_came<B: Bed>(rig: Rig<'_, B>, keys: &[Key], writers: Vec<thread::JoinHandle<B::Peer>>) {
    for key in keys {
        assert!(rig.log(*key).received == pattern(0, EACH), "bytes are missing, or in another order");
    }
    for writer in writers {
        drop(writer.join().expect("the peer writes"));
    }
    rig.finish();
}

/// Connections that rest for want of memory go on when the loop's own thread drops what it has received, and have
/// lost nothing.
pub fn receiving_resumes_when_this_thread_lets_go<B: Bed>(bed: &B) {
    let (mut rig, keys, writers) = starving(bed);
    starve(&mut rig, &keys);
    while keys.iter().any(|key| !rig.log(*key).ended) {
        let before = received(&rig, &keys);
        for key in &keys {
            drop(rig.segments(*key));
        }
        rig.until("receiving goes on", |rig| {
            received(rig, &keys) > before || keys.iter().all(|key| rig.log(*key).ended)
        });
    }
    all_came(rig, &keys, writers);
}

/// The same when another thread drops it, while the loop's own sleeps.
pub fn receiving_resumes_when_another_thread_lets_go<B: Bed>(bed: &B) {
    let (mut rig, keys, writers) = starving(bed);
    starve(&mut rig, &keys);
    while keys.iter().any(|key| !rig.log(*key).ended) {
        let before = received(&rig, &keys);
        let held: Vec<_> = keys.iter().flat_map(|key| rig.segments(*key)).collect();
        let dropper = thread::spawn(move || {
            thread::sleep(MOMENT);
            drop(held);
        });
        // One long wait, and then as many short ones as it takes: only the bell can end the long one.
        let start = std::time::Instant::now();
        rig.turn(rig.patience());
        assert!(start.elapsed() < rig.patience() / 2, "nobody rang when memory came back");
        rig.until("receiving goes on", |rig| {
            received(rig, &keys) > before || keys.iter().all(|key| rig.log(*key).ended)
        });
        dropper.join().expect("segments are dropped");
    }
    all_came(rig, &keys, writers);
}

/// A block for a large message that cannot be had is done without.
pub fn a_wanted_block_that_is_out_of_reach_is_done_without<B: Bed>(bed: &B) {
    let mut rig = Rig::with_memory(bed, LITTLE);
    let (key, mut peer) = rig.pair();
    peer.write(b"head");
    rig.until_received(key, 4);
    rig.driver.want(key, 1 << 20);
    let writer = thread::spawn(move || {
        peer.write(&pattern(4, 1 << 20));
        peer
    });
    rig.until_received(key, 4 + (1 << 20));
    assert!(rig.log(key).received[4..] == pattern(4, 1 << 20), "other bytes");
    drop(writer.join().expect("the peer writes"));
    rig.finish();
}
