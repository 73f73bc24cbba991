//! Clauses about the life of a connection: keys, closing, detaching, connecting.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::{Detached, Driver, Key};
use linkpoll::net::Address;

use crate::{Bed, FAMILIES, Family, Listening, Peer as _, Place, Rig, SocketPeer, pattern};

const MOMENT: Duration = Duration::from_millis(20);

/// `Closed` comes once, as the last event of its key, and the peer sees the end.
pub fn closed_comes_once_and_last<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        peer.write(b"unread");
        rig.until_received(key, 6);
        rig.send(key, b"answer");
        rig.until_sent(key);
        rig.close(key);
        rig.close(key);
        // The audit fails at a second one, and at anything after it.
        rig.until("the close", |rig| rig.log(key).closed);
        assert_eq!(peer.read_to_end(), b"answer");
        rig.close(key);
        rig.linger(MOMENT);
        rig.finish();
    }
}

/// Closing with bytes unsent does not wait for the peer to read them.
pub fn closing_with_bytes_unsent_does_not_wait<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, _peer) = rig.pair();
    rig.send(key, &pattern(0, 8 << 20));
    rig.turn(Duration::ZERO);
    rig.close(key);
    let start = Instant::now();
    // `step` fails when the close is not told in time.
    rig.turn(Duration::ZERO);
    rig.turn(Duration::ZERO);
    rig.turn(Duration::ZERO);
    assert!(rig.log(key).closed && start.elapsed() < rig.patience());
    rig.finish();
}

/// Does everything that can be done to a key.
fn bother<B: Bed>(rig: &mut Rig<'_, B>, key: Key) {
    rig.driver.receive(key, false);
    rig.driver.receive(key, true);
    rig.driver.want(key, 1 << 20);
    rig.driver.send(key, Segment::copy_of(b"for the former user").into(), None);
    rig.driver.send(key, Chain::new(), None);
    rig.driver.shutdown(key);
    rig.driver.close(key);
    assert!(rig.driver.detach(key).is_none());
    rig.driver.receive(key, false);
}

/// Operations on a key whose connection is gone, or that was never used, do nothing to anybody.
pub fn stale_keys_do_nothing<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (old, _peer) = rig.pair();
    rig.close(old);
    rig.until("the close", |rig| rig.log(old).closed);
    bother(&mut rig, old);
    let new = rig.again(old);
    let mut peer = rig.attach(new, bed.families()[0]);
    bother(&mut rig, old);
    bother(&mut rig, Key::new(1000, 1));
    bother(&mut rig, Key::new(new.slot(), new.generation() + 1));
    peer.write(b"in");
    rig.until_received(new, 2);
    rig.send(new, b"out");
    rig.until_sent(new);
    rig.driver.shutdown(new);
    rig.turn(Duration::ZERO);
    assert_eq!(peer.read_to_end(), b"out");
    rig.finish();
}

/// A slot that is used again, under its next generation and with the same descriptor, sees nothing of its former
/// user.
pub fn a_key_used_again_sees_nothing_old<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (mut key, mut peer) = rig.pair();
    for round in 0..40_usize {
        // All sorts of things are under way when the connection is closed.
        peer.write(b"old");
        rig.driver.want(key, 1 << 17);
        if round % 2 == 0 {
            rig.turn(Duration::from_millis(1));
        }
        rig.send(key, &pattern(0, round % 3 * 4_000_000));
        if round % 5 == 0 {
            peer.end();
        }
        rig.receive(key, round % 4 == 0);
        rig.close(key);
        rig.until("the close", |rig| rig.log(key).closed);
        let next = rig.again(key);
        peer = rig.attach(next, bed.families()[round % bed.families().len()]);
        // The audit fails at an event that is not of the new one.
        rig.turn(Duration::ZERO);
        assert!(rig.log(next).received.is_empty() && !rig.log(next).ended, "events of the former user");
        peer.write(b"new");
        rig.until_received(next, 3);
        assert_eq!(rig.log(next).received, b"new");
        key = next;
    }
    rig.finish();
}

/// A connection that is closed while a batch with events for it is worked off tells nothing more.
pub fn closing_one_of_a_batch_silences_it<B: Bed>(bed: &B) {
    for _ in 0..20 {
        let mut rig = Rig::new(bed);
        let pairs: Vec<_> = (0..10).map(|_| rig.pair_of(Family::Unix)).collect();
        let keys: Vec<Key> = pairs.iter().map(|(key, _)| *key).collect();
        for (_, mut peer) in pairs {
            peer.write(&pattern(0, 1000));
        }
        rig.wait(rig.patience());
        assert!(rig.step(), "all of them are ready");
        let first = *keys.iter().find(|key| !rig.log(**key).received.is_empty()).expect("bytes came first");
        for key in keys.iter().filter(|key| **key != first) {
            rig.close(*key);
        }
        while rig.step() {}
        rig.until("the close", |rig| keys.iter().all(|key| *key == first || rig.log(*key).closed));
        for key in keys.iter().filter(|key| **key != first) {
            assert!(rig.log(*key).received.is_empty(), "bytes of a connection that was closed");
        }
        rig.finish();
    }
}

/// Detaching gives the socket and all unsent bytes back, and both can be attached again.
pub fn detaching_gives_back_socket_and_unsent_bytes<B: Bed>(bed: &B) {
    const MUCH: usize = 6 << 20;
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, mut peer) = rig.pair_of(family);
        rig.send(key, &pattern(0, MUCH));
        rig.turn(Duration::ZERO);
        let sent = rig.log(key).sent;
        let Detached { socket, unsent: rest, .. } = rig.driver.detach(key).expect("it is there");
        assert_eq!(sent + rest.len() as u64, MUCH as u64, "sent and unsent are not everything");
        assert!(rig.driver.detach(key).is_none(), "it is not there any more");
        peer.write(b"while detached");
        rig.linger(MOMENT);
        assert!(rig.log(key).received.is_empty());
        let other = rig.key();
        rig.driver.attach(other, socket).expect("the socket can be attached again");
        rig.send_chain(other, rest, None);
        let reader = std::thread::spawn(move || (peer.read(MUCH), peer));
        rig.until_sent(other);
        rig.until_received(other, 14);
        let (bytes, _peer) = reader.join().expect("the peer reads");
        assert!(bytes == pattern(0, MUCH), "other bytes, or another order");
        rig.finish();
    }
}

/// Bytes that were received together with others, and were not told yet when the others were, come with the socket.
pub fn detaching_within_a_call_loses_nothing<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        // Whatever is received stays in use, so that one receive runs over from one block into the next at some time.
        rig.keep = true;
        let (mut key, mut peer) = rig.pair_of(family);
        let mut at = 0;
        let mut all = Vec::new();
        for size in [60_000, 30_000, 50_000, 70_000, 64_000, 10_000, 90_000] {
            // A driver that receives little at a time leaves the system with no room for all of it.
            at += peer.offer(&pattern(at, size));
            let limit = Instant::now() + rig.patience();
            while rig.log(key).received.is_empty() {
                assert!(Instant::now() < limit, "nothing arrives; {rig}");
                rig.wait(MOMENT);
                while rig.log(key).received.is_empty() && rig.step() {}
            }
            let told = rig.log(key).received.len();
            let Detached { socket, received, .. } = rig.driver.detach(key).expect("it is there");
            all.extend_from_slice(&rig.log(key).received[..told]);
            received.segments().for_each(|segment| all.extend_from_slice(segment));
            while rig.step() {}
            assert_eq!(rig.log(key).received.len(), told, "told although it was detached");
            key = rig.key();
            rig.driver.attach(key, socket).expect("the socket can be attached again");
        }
        rig.until_received(key, at - all.len());
        all.extend_from_slice(&rig.log(key).received);
        assert!(all == pattern(0, at), "other bytes, or another order");
        rig.finish();
    }
}

/// A descriptor can become a socket, and a detached socket a descriptor, which carries bytes in either form.
pub fn descriptors_go_in_and_come_out<B: Bed>(bed: &B) {
    for family in FAMILIES {
        let mut rig = Rig::new(bed);
        let (mut peer, fd, address) = SocketPeer::pair(family, rig.patience());
        let socket = B::Driver::from_fd(fd, address.clone()).expect("a descriptor is a connection");
        assert_eq!(B::Driver::peer(&socket), address);
        let key = rig.key();
        rig.driver.attach(key, socket).expect("the socket can be attached");
        rig.send(key, b"from the driver, ");
        rig.until_sent(key);
        let detached = rig.driver.detach(key).expect("it is there");
        let fd = B::Driver::into_fd(detached.socket).expect("what was a descriptor is one");
        let mut plain = SocketPeer::new(TcpStream::from(fd), rig.patience());
        plain.write(b"from a descriptor");
        assert_eq!(peer.read(34), b"from the driver, from a descriptor");
        peer.write(b"back");
        assert_eq!(plain.read(4), b"back");
        drop(plain);
        assert!(peer.read_to_end().is_empty());
        rig.linger(MOMENT);
        rig.finish();
    }
}

/// Somebody who listens at an address of this family, and the address for as long as it is needed.
fn listening<B: Bed>(bed: &B, family: Family) -> (Listening<B::Peer>, Place) {
    let place = Place::new(family);
    (bed.listen(place.address(), bed.patience()), place)
}

/// Waits for a connection to be made, and lets both ends talk.
fn exchange<B: Bed>(rig: &mut Rig<'_, B>, key: Key, listening: Listening<B::Peer>) {
    let accepting = listening.accept();
    rig.until("the connection", |rig| rig.log(key).connected && accepting.is_finished());
    let mut peer = accepting.join().expect("it is accepted");
    rig.send(key, b"pi");
    rig.send(key, b"ng");
    rig.until_sent(key);
    assert_eq!(peer.read(4), b"ping");
    peer.write(b"pong");
    rig.until_received(key, 4);
}

/// A connection can be established, to each family of addresses, and carries bytes both ways.
pub fn connecting_works<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    for &family in bed.families() {
        let (listening, _place) = listening(bed, family);
        let key = rig.key();
        rig.connect(key, &listening.address).expect("connecting starts");
        exchange(&mut rig, key, listening);
    }
    rig.finish();
}

/// A connection comes from the address that was asked for; one that cannot be had is an error.
pub fn connecting_from_a_local_address_works<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = Address::Tcp(listener.local_addr().expect("an address"));
    let local = SocketAddr::from(([127, 0, 0, 9], 0));
    let key = rig.key();
    rig.connect_from(key, &address, local).expect("connecting starts");
    let (stream, from) = listener.accept().expect("a connection");
    assert_eq!(from.ip(), local.ip());
    rig.until("the connection", |rig| rig.log(key).connected);
    let mut peer = SocketPeer::new(stream, rig.patience());
    rig.send(key, b"ping");
    rig.until_sent(key);
    assert_eq!(peer.read(4), b"ping");
    // An address for documentation only, which nobody has.
    let key = rig.key();
    assert!(rig.connect_from(key, &address, SocketAddr::from(([192, 0, 2, 1], 0))).is_err());
    rig.finish();
}

/// A connection that is given up while it is being established is gone, and the next user of its slot sees nothing of
/// it.
pub fn a_connect_can_be_given_up<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (address, silence) = bed.silence();
    let key = rig.key();
    rig.connect(key, &address).expect("connecting starts");
    rig.linger(MOMENT);
    rig.close(key);
    rig.until("the close", |rig| rig.log(key).closed);
    let next = rig.again(key);
    let mut peer = rig.attach(next, bed.families()[0]);
    drop(silence);
    // The audit fails at anything that is not of the new one.
    rig.linger(MOMENT);
    peer.write(b"new");
    rig.until_received(next, 3);
    assert_eq!(rig.log(next).received, b"new");
    rig.finish();
}

/// What is sent before a connection is established goes out once it is, and so does the end.
pub fn bytes_sent_while_connecting_go_out<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (listening, _place) = listening(bed, bed.families()[0]);
    let key = rig.key();
    rig.connect(key, &listening.address).expect("connecting starts");
    rig.send(key, b"early ");
    rig.send_chain(key, Chain::new(), Some(1));
    rig.send_chain(key, Segment::copy_of(b"bytes").into(), Some(2));
    rig.driver.shutdown(key);
    let accepting = listening.accept();
    rig.until_sent(key);
    rig.until("both tokens are released", |rig| rig.tokens.is_empty());
    rig.until("it is accepted", |_| accepting.is_finished());
    let mut peer = accepting.join().expect("it is accepted");
    assert_eq!(peer.read_to_end(), b"early bytes");
    assert!(rig.log(key).connected);
    rig.finish();
}

/// Switching receiving off and on does not establish a connection.
pub fn a_pause_while_connecting_does_not_connect<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let key = rig.key();
    let (address, _silence) = bed.silence();
    rig.connect(key, &address).expect("connecting starts");
    rig.receive(key, false);
    rig.receive(key, true);
    rig.linger(MOMENT);
    assert!(!rig.log(key).connected, "connected although nobody has answered");
    rig.close(key);
    rig.finish();

    let mut rig = Rig::new(bed);
    let (listening, _place) = listening(bed, bed.families()[0]);
    let key = rig.key();
    rig.connect(key, &listening.address).expect("connecting starts");
    rig.receive(key, false);
    rig.receive(key, true);
    exchange(&mut rig, key, listening);
    rig.finish();
}

/// A refused connection is an error, at once or as an event, and never a connection.
pub fn a_refused_connection_is_an_error<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let place = Place::deserted(family);
        let key = rig.key();
        if rig.connect(key, place.address()).is_ok() {
            rig.until("the error", |rig| rig.log(key).error.is_some());
            assert!(!rig.log(key).connected);
            rig.close(key);
            rig.until("the close", |rig| rig.log(key).closed);
        }
        rig.finish();
    }
}

/// A connection is an error when its listener goes before it has answered.
pub fn a_listener_that_goes_is_an_error<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (address, silence) = bed.silence();
    let key = rig.key();
    rig.connect(key, &address).expect("connecting starts");
    rig.linger(MOMENT);
    drop(silence);
    rig.until("the error", |rig| rig.log(key).error.is_some());
    assert!(!rig.log(key).connected, "nobody has answered");
    rig.close(key);
    rig.until("the close", |rig| rig.log(key).closed);
    rig.finish();
}

/// A path where there is nothing is an error, at once or as an event, and the key can be used for another try.
pub fn a_missing_path_is_an_error<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let place = Place::new(Family::Unix);
    let key = rig.key();
    match rig.connect(key, place.address()) {
        Err(_) => {
            let accepting = bed.listen(place.address(), bed.patience()).accept();
            rig.connect(key, place.address()).expect("the key is free");
            rig.until("the connection", |rig| rig.log(key).connected);
            drop(accepting.join().expect("it is accepted"));
        }
        Ok(()) => rig.until("the error", |rig| rig.log(key).error.is_some()),
    }
    rig.finish();
}
