//! Connections that end while the kernel has memory of them.

use super::*;

/// More than a peer's window takes, where the kernel copies: the rest stays lent while the peer does not read.
const PIECES: usize = 8;

/// A rig whose peer does not read, with so many large pieces given, and not all of them released.
fn withheld(lender: &Lender, pieces: usize) -> (LendingRig<'_>, Key, Peer) {
    let mut rig = Rig::new(lender);
    let (key, peer) = rig.pair(linkpoll_conformance::Family::Tcp);
    for round in 0..pieces {
        rig.send_chain(key, piece(round * LARGE, LARGE), Some(round as u64));
    }
    rig.linger(MOMENT);
    let stats = stats(&mut rig);
    assert!(stats.lent_now() > 0 && !rig.tokens.is_empty(), "nothing is lent: {stats:?}");
    (rig, key, peer)
}

/// The bytes that the socket has taken: those that are not sent are dropped by closing.
fn taken(rig: &LendingRig<'_>, key: Key) -> Vec<u8> {
    pattern(0, usize::try_from(rig.log(key).sent).unwrap())
}

/// A connection closed while its peer does not read: after the patience its memory is used again, with fresh pages. The
/// peer gets the old bytes.
#[test]
fn memory_of_a_closed_connection_never_reaches_another() {
    let lender = Lender::default();
    let (mut rig, key, mut peer) = withheld(&lender, PIECES);
    let stats = stats(&mut rig);
    let (taken, lent) = (taken(&rig, key), stats.lent_now());
    rig.close(key);
    rig.until("it is closed", |rig| rig.log(key).closed);
    assert!(!rig.tokens.is_empty(), "released, but the peer has not read");
    scribble(&mut rig, key);
    rig.until("patience ends", |rig| rig.tokens.is_empty());
    assert_eq!((stats.lent_now(), stats.given_up_bytes.get()), (0, lent), "{stats:?}");
    assert!(stats.quarantined.get() > 0, "{stats:?}");
    for _ in 0..3 {
        scribble(&mut rig, key);
    }
    assert!(peer.read_to_end() == taken, "bytes of somebody else");
    rig.finish();
}

/// The peer reads after all, in time: nothing is given up.
#[test]
fn memory_of_a_closed_connection_comes_back_by_itself() {
    let lender = Lender(ZerocopyOptions { patience: PATIENCE, ..ZerocopyOptions::default() });
    let (mut rig, key, mut peer) = withheld(&lender, PIECES);
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
    let (mut rig, key, mut peer) = withheld(&lender, PIECES - 2);
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
    scribble(&mut rig, key);
    assert!(peer.read_to_end() == pattern(0, given + more), "bytes of somebody else");
    rig.finish();
}

/// A reset gives everything back, before and after the connection is closed.
#[test]
fn a_reset_gives_everything_back() {
    let lender = Lender(ZerocopyOptions { patience: PATIENCE, ..ZerocopyOptions::default() });
    let (mut rig, key, peer) = withheld(&lender, 40);
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
    let (mut rig, key, mut peer) = withheld(&lender, PIECES);
    let stats = stats(&mut rig);
    let taken = taken(&rig, key);
    let detached = rig.driver.detach(key).unwrap();
    rig.until("the memory is free", |rig| rig.tokens.is_empty());
    assert_eq!(stats.lent_now(), 0, "{stats:?}");
    scribble(&mut rig, key);
    drop(detached);
    assert!(peer.read_to_end() == taken, "bytes of somebody else");
    rig.finish();
}

/// A driver that goes away while memory is lent: its pool may live on, and must not use it again as it is.
#[test]
fn memory_of_a_driver_that_is_gone_never_reaches_another() {
    let lender = Lender::default();
    let (rig, key, mut peer) = withheld(&lender, PIECES);
    let taken = taken(&rig, key);
    let pool = rig.driver.pool().clone();
    drop(rig);
    let mut blocks = Vec::new();
    for _ in 0..40 {
        let mut tail = pool.allocate(LARGE).unwrap();
        tail.spare().fill(b'!');
        blocks.push(tail);
    }
    assert!(peer.read_to_end() == taken, "bytes of somebody else");
}
