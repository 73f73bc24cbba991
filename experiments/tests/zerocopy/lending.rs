//! Memory that is lent and comes back.

use super::*;

/// Over loopback every notification says that the kernel has copied: lending stops, and what was lent comes back.
#[test]
fn where_the_kernel_copies_lending_is_switched_off() {
    let lender = Lender::default();
    let mut rig = Rig::new(&lender);
    let stats = stats(&mut rig);
    let (key, mut peer) = rig.pair();
    let mut bytes = Vec::new();
    for round in 0..40 {
        rig.send_chain(key, piece(round * LARGE, LARGE), Some(round as u64));
        rig.until_sent(key);
        bytes.extend(peer.read(LARGE));
        rig.until("the memory is back", |rig| rig.tokens.is_empty());
    }
    assert!(bytes == pattern(0, 40 * LARGE), "other bytes");
    assert!((8..12).contains(&stats.lends.get()), "{stats:?}");
    assert_eq!((stats.copied.get(), stats.lent_now()), (stats.notifications.get(), 0), "{stats:?}");
    assert_eq!(stats.lent_bytes.get() + stats.copied_bytes.get(), 40 * LARGE as u64, "{stats:?}");
    rig.finish();
}

/// While a peer does not read, its bytes count as sent, but their memory is neither released nor used for anything else.
#[test]
fn lent_memory_is_not_used_again_before_it_is_back() {
    let lender = Lender::default();
    let mut rig = Rig::new(&lender);
    let stats = stats(&mut rig);
    let (key, peer) = rig.pair();
    for round in 0..8 {
        rig.send_chain(key, piece(round * LARGE, LARGE), Some(round as u64));
    }
    rig.linger(MOMENT);
    assert!(rig.log(key).sent >= LARGE as u64 && stats.lent_now() > 0, "{stats:?}");
    assert!(!rig.tokens.is_empty(), "all memory is free, but the peer has not read");
    scribble(rig.driver.pool());
    let reader = reads(peer, 8 * LARGE);
    rig.until("the memory is back", |rig| rig.tokens.is_empty());
    rig.until_sent(key);
    let (_peer, bytes) = reader.join().unwrap();
    assert!(bytes == pattern(0, 8 * LARGE), "bytes of somebody else");
    rig.until("nothing is lent", |_| stats.lent_now() == 0);
    rig.finish();
}

/// Headers are copied and payloads lent, in order, in one flush.
#[test]
fn small_and_large_pieces_go_out_in_order() {
    let lender = Lender::default();
    let mut rig = Rig::new(&lender);
    let stats = stats(&mut rig);
    let (key, peer) = rig.pair();
    let sizes = [4, 40_000, 1, 2, 3, 16 << 10, 70_000, 5, 300_000, 9];
    let total: usize = sizes.iter().sum();
    let mut chain = Chain::new();
    let mut at = 0;
    for size in sizes {
        chain.push(Segment::from(pattern(at, size)));
        at += size;
    }
    let reader = reads(peer, total);
    rig.send_chain(key, chain, Some(1));
    rig.until_sent(key);
    let (_peer, bytes) = reader.join().unwrap();
    assert!(bytes == pattern(0, total), "other bytes");
    rig.until("the memory is back", |rig| rig.tokens.is_empty());
    assert!(stats.lent_bytes.get() >= 40_000, "{stats:?}");
    assert!(
        stats.lent_bytes.get() <= total as u64 - (4 + 1 + 2 + 3 + 5 + 9),
        "a small piece was lent: {stats:?}"
    );
    rig.finish();
}

/// A Unix socket cannot lend, and is served by copying.
#[test]
fn a_unix_socket_copies() {
    let lender = Lender::default();
    let mut rig = Rig::new(&lender);
    let stats = stats(&mut rig);
    let (key, mut peer) = rig.pair_of(linkpoll_conformance::Family::Unix);
    for round in 0..3 {
        rig.send_chain(key, piece(round * LARGE, LARGE), Some(round as u64));
        assert!(peer.read(LARGE) == pattern(round * LARGE, LARGE), "other bytes");
    }
    rig.until("the memory is free", |rig| rig.tokens.is_empty());
    assert_eq!(stats.lends.get(), 0, "{stats:?}");
    rig.finish();
}

/// A socket that was lent from by somebody else has numbers that are not ours.
#[test]
fn a_socket_that_lends_already_is_not_lent_from() {
    let lender = Lender::default();
    let mut rig = Rig::new(&lender);
    let stats = stats(&mut rig);
    let (mut peer, fd, address) = SocketPeer::pair(linkpoll_conformance::Family::Tcp, PATIENCE);
    way::set_lending(&fd);
    let key = rig.key();
    let socket = lender.socket(fd, address);
    rig.driver.attach(key, socket).unwrap();
    rig.send_chain(key, piece(0, LARGE), Some(1));
    assert!(peer.read(LARGE) == pattern(0, LARGE), "other bytes");
    rig.until("the memory is free", |rig| rig.tokens.is_empty());
    assert_eq!(stats.lends.get(), 0, "{stats:?}");
    rig.finish();
}
