//! Sessions that go from one driver to another, on another thread.

use std::thread;
use std::time::Duration;

use linkpoll::driver::{Detached, Driver as _};
use linkpoll_conformance::{Peer as _, Rig, pattern};
use linkpoll_shm::handshake::Doorbell;

use crate::USUAL;
use crate::bed::ShmBed;

/// More than rings and arenas take before the peer reads.
const MUCH: usize = 12 << 20;

/// A session leaves its driver with bytes on their way in both directions, and loses none of them: what was lent stays lent,
/// what was not sent is sent by the next driver, and so is what the peer writes meanwhile received.
#[test]
fn a_session_goes_from_driver_to_driver_with_every_byte() {
    for doorbell in [Doorbell::Socket, Doorbell::EventFd] {
        for ring in [4 << 10, 64 << 10] {
            let bed = ShmBed { ring, doorbell, ..USUAL };
            let mut rig = Rig::new(&bed);
            let (key, mut peer) = rig.pair();
            peer.write(&pattern(0, 100_000));
            rig.until_received(key, 1);
            rig.send(key, &pattern(0, MUCH));
            rig.turn(Duration::ZERO);
            let Detached { socket, received, unsent } = rig.driver.detach(key).expect("it is there");
            assert!(!unsent.is_empty(), "the system takes in more than this test reckons with");
            let mut bytes = rig.log(key).received.clone();
            received.segments().for_each(|segment| bytes.extend_from_slice(segment));
            peer.write(&pattern(100_000, 100_000));
            let (sent, left) = (rig.log(key).sent, unsent.len());
            assert_eq!(sent + left as u64, MUCH as u64, "sent and unsent are not everything");
            // The first driver is gone before anything is read.
            rig.finish();

            let reader = thread::spawn(move || {
                let bytes = peer.read(MUCH);
                peer.end();
                (bytes, peer)
            });
            let rest = thread::scope(|scope| {
                let next = scope.spawn(|| {
                    let mut rig = Rig::new(&bed);
                    let key = rig.key();
                    rig.driver.attach(key, socket).expect("the session can be attached again");
                    rig.send_chain(key, unsent, None);
                    rig.until_sent(key);
                    rig.until("the end", |rig| rig.log(key).ended);
                    let received = rig.log(key).received.clone();
                    rig.finish();
                    received
                });
                next.join().expect("the next driver has it")
            });
            bytes.extend(rest);
            assert!(bytes == pattern(0, 200_000), "other bytes, or another order ({doorbell:?}, {ring})");
            let (bytes, _peer) = reader.join().expect("the peer reads");
            assert!(bytes == pattern(0, MUCH), "other bytes, or another order ({doorbell:?}, {ring})");
        }
    }
}
