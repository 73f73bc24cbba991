//! Connections that end while the kernel has memory of them.

use std::time::Instant;

use linkpoll_experiments::{AnyDriver, DriverOptions, Transport};

use super::bed::{LOOPBACK, Mode, Verdict, Xdp};
use super::*;

/// More than a peer's window takes, where the kernel copies: the rest stays lent while the peer does not read.
const PIECES: usize = 8;

/// A rig whose peer does not read, with so many large pieces given, and not all of them released.
///
/// Slabs are held: the memory that comes back is used again, not unmapped.
fn withheld(lender: &Lender, pieces: usize) -> (LendingRig<'_>, Key, SocketPeer, Vec<Tail>) {
    let mut rig = Rig::new(lender);
    let (key, peer) = rig.pair();
    let held = hold_slabs(rig.driver.pool());
    for round in 0..pieces {
        rig.send_chain(key, piece(round * LARGE, LARGE), Some(round as u64));
    }
    rig.linger(MOMENT);
    let stats = stats(&mut rig);
    assert!(stats.lent_now() > 0 && !rig.tokens.is_empty(), "nothing is lent: {stats:?}");
    (rig, key, peer, held)
}

/// Overwrites what was lent, and is free now, all of it.
fn scribble_over_lent(pool: &BlockPool, lender: &Lender) {
    let (over, lent) = (scribble(pool), lender.laid.borrow());
    assert!(lent.is_subset(&over), "blocks are not used again, so nothing is shown");
}

/// The bytes that the socket has taken: those that are not sent are dropped by closing.
fn taken(rig: &LendingRig<'_>, key: Key) -> Vec<u8> {
    pattern(0, usize::try_from(rig.log(key).sent).unwrap())
}

/// A connection closed while its peer does not read: after the patience its memory is used again, with fresh pages. The
/// peer gets the old bytes.
#[test]
fn memory_of_a_closed_connection_never_reaches_another() {
    closes_while_lent();
}

/// The same where the receiver's queue, too, consists of lent pages.
#[test]
fn memory_that_lies_with_the_receiver_never_reaches_another() {
    let prepare = || {
        bed::namespace()?;
        Xdp::attach(LOOPBACK, Mode::Generic, Verdict::Pass)
    };
    bed::on("memory_that_lies_with_the_receiver_never_reaches_another", prepare, |_xdp| closes_while_lent());
}

fn closes_while_lent() {
    let lender = Lender::default();
    let (mut rig, key, mut peer, _held) = withheld(&lender, PIECES);
    let stats = stats(&mut rig);
    let (taken, lent) = (taken(&rig, key), stats.lent_now());
    rig.close(key);
    rig.until("it is closed", |rig| rig.log(key).closed);
    assert!(!rig.tokens.is_empty(), "released, but the peer has not read");
    scribble(rig.driver.pool());
    rig.until("patience ends", |rig| rig.tokens.is_empty());
    assert_eq!((stats.lent_now(), stats.given_up_bytes.get()), (0, lent), "{stats:?}");
    assert!(stats.quarantined.get() > 0, "{stats:?}");
    scribble_over_lent(rig.driver.pool(), &lender);
    assert!(peer.read_to_end() == taken, "bytes of somebody else");
    rig.finish();
}

/// The peer reads after all, in time: nothing is given up.
#[test]
fn memory_of_a_closed_connection_comes_back_by_itself() {
    let lender = Lender::with(ZerocopyOptions { patience: PATIENCE, ..ZerocopyOptions::default() });
    let (mut rig, key, mut peer, _held) = withheld(&lender, PIECES);
    let stats = stats(&mut rig);
    let taken = taken(&rig, key);
    rig.close(key);
    rig.until("it is closed", |rig| rig.log(key).closed);
    let reader = std::thread::spawn(move || peer.read_to_end());
    rig.until("the memory is back", |rig| rig.tokens.is_empty());
    assert!(reader.join().unwrap() == taken, "other bytes");
    assert_eq!(
        (stats.lent_now(), stats.given_up_bytes.get(), stats.quarantined.get()),
        (0, 0, 0),
        "{stats:?}"
    );
    rig.finish();
}

/// A block that somebody still holds waits for him, then gets fresh pages.
#[test]
fn a_block_in_quarantine_waits_for_its_last_holder() {
    let lender = Lender::default();
    let (mut rig, key, mut peer, _held) = withheld(&lender, PIECES - 2);
    let given = (PIECES - 2) * LARGE;
    let mut tail = rig.driver.alloc_send(key, LARGE).unwrap();
    tail.spare()[..LARGE].copy_from_slice(&pattern(given, LARGE));
    let held = tail.commit(LARGE);
    drop(tail);
    rig.tokens.insert(99);
    let more = rig.driver.send(key, held.clone().into(), Some(Token(99)));
    assert!(more > 0, "the socket is full before");
    let stats = stats(&mut rig);
    rig.close(key);
    rig.until("patience ends", |_| stats.quarantined.get() > 0);
    rig.linger(MOMENT * 4);
    assert!(rig.tokens.contains(&99), "released while somebody holds the block");
    assert!(held[..] == pattern(given, LARGE), "what is held has changed");
    drop(held);
    rig.until("the block is free", |rig| rig.tokens.is_empty());
    assert_eq!(stats.quarantined_now(), 0, "{stats:?}");
    scribble_over_lent(rig.driver.pool(), &lender);
    assert!(peer.read_to_end() == pattern(0, given + more), "bytes of somebody else");
    rig.finish();
}

/// A reset gives everything back, before and after the connection is closed.
#[test]
fn a_reset_gives_everything_back() {
    let lender = Lender::with(ZerocopyOptions { patience: PATIENCE, ..ZerocopyOptions::default() });
    let (mut rig, key, peer, _held) = withheld(&lender, 40);
    let stats = stats(&mut rig);
    assert!(stats.lent_now() > 0, "{stats:?}");
    peer.reset();
    rig.until("the error", |rig| rig.log(key).error.is_some());
    let short = rig.short_waits(5, MOMENT);
    assert!(short <= 2, "{short} of 5 waits ended at once with a dead connection");
    rig.close(key);
    rig.until("the memory is back", |rig| rig.tokens.is_empty());
    assert_eq!((stats.lent_now(), stats.given_up_bytes.get()), (0, 0), "{stats:?}");
    rig.finish();
}

/// A connection that goes to another owner takes no memory along: blocks get fresh pages at once.
#[test]
fn memory_of_a_detached_connection_never_reaches_another() {
    let lender = Lender::default();
    let (mut rig, key, mut peer, _held) = withheld(&lender, PIECES);
    let stats = stats(&mut rig);
    let taken = taken(&rig, key);
    let detached = rig.driver.detach(key).unwrap();
    rig.until("the memory is free", |rig| rig.tokens.is_empty());
    assert_eq!(stats.lent_now(), 0, "{stats:?}");
    scribble_over_lent(rig.driver.pool(), &lender);
    drop(detached);
    assert!(peer.read_to_end() == taken, "bytes of somebody else");
    rig.finish();
}

/// Memory of two closed connections: the one whose blocks are free does not wait for the other's.
#[test]
fn connections_in_quarantine_do_not_wait_for_each_other() {
    let lender = Lender::default();
    let (mut rig, key, _peer, _held) = withheld(&lender, PIECES);
    let first = rig.tokens.clone();
    let (other, _other_peer) = rig.pair();
    let mut kept = Vec::new();
    for round in 0..PIECES {
        let piece = lender.piece(&mut rig.driver, other, Segment::from(pattern(0, LARGE)));
        kept.push(piece.clone());
        let token = (100 + round) as u64;
        rig.tokens.insert(token);
        rig.driver.send(other, piece.into(), Some(Token(token)));
    }
    let stats = stats(&mut rig);
    rig.close(other);
    rig.close(key);
    rig.until("the first one's memory is free", |rig| rig.tokens.is_disjoint(&first));
    assert!(stats.quarantined_now() > 0 && !rig.tokens.is_empty(), "what is held was let go: {stats:?}");
    drop(kept);
    rig.until("the other's memory is free", |rig| rig.tokens.is_empty());
    assert_eq!((stats.lent_now(), stats.quarantined_now()), (0, 0), "{stats:?}");
    rig.finish();
}

/// A connection that was lent from and goes to another driver, of any kind: news of what was lent neither keep that driver
/// awake nor end the connection, also when the peer has ended its direction.
#[test]
fn a_connection_that_was_lent_from_is_served_by_any_driver() {
    for transport in Transport::ALL {
        for ended in [false, true] {
            let lender = Lender::default();
            let (mut rig, key, mut peer, _held) = withheld(&lender, PIECES);
            let taken = taken(&rig, key);
            if ended {
                peer.end();
                rig.until("the end", |rig| rig.log(key).ended);
            }
            let socket = rig.driver.detach(key).unwrap().socket;
            let mut driver = transport.driver(&DriverOptions::default()).unwrap();
            let key = Key::new(7, 1);
            driver.attach(key, socket).unwrap();
            // News come while it reads, and when it has read everything.
            let reader = reads(peer, taken.len());
            let limit = Instant::now() + PATIENCE;
            let mut quiet = 0;
            let turn = |driver: &mut AnyDriver, wait| {
                assert!(Instant::now() < limit, "{transport} stays awake");
                driver.wait(Some(wait)).unwrap();
                while let Some(event) = driver.next() {
                    assert!(matches!(event, Event::Eof(_) | Event::Sent(..)), "{transport}: {event:?}");
                }
            };
            while !reader.is_finished() {
                turn(&mut driver, MOMENT);
            }
            let (mut peer, read) = reader.join().unwrap();
            assert!(read == taken, "other bytes");
            while quiet < 3 {
                let started = Instant::now();
                turn(&mut driver, MOMENT);
                quiet = if started.elapsed() >= MOMENT / 2 { quiet + 1 } else { 0 };
            }
            driver.send(key, Segment::copy_of(b"and on").into(), None);
            turn(&mut driver, Duration::ZERO);
            assert_eq!(peer.read(6), b"and on", "{transport}");
            rig.finish();
        }
    }
}

/// A driver that goes away while memory is lent: its pool may live on, and must not use it again as it is.
#[test]
fn memory_of_a_driver_that_is_gone_never_reaches_another() {
    let lender = Lender::default();
    let (rig, key, mut peer, _held) = withheld(&lender, PIECES);
    let taken = taken(&rig, key);
    let pool = rig.driver.pool().clone();
    drop(rig);
    scribble_over_lent(&pool, &lender);
    assert!(peer.read_to_end() == taken, "bytes of somebody else");
}
