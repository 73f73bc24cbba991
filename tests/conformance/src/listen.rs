//! Clauses about listeners.

use std::time::Duration;

use linkpoll::driver::{Driver as _, Key};
use linkpoll::net::Address;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{Bed, Family, Peer as _, Place, Rig};

/// A listener at an address of this family, and the address for as long as it is needed.
fn listening<B: Bed>(rig: &mut Rig<'_, B>, family: Family) -> (Key, Address, Place) {
    let place = Place::new(family);
    let key = rig.key();
    let address = rig.driver.listen(key, place.address(), false).expect("somebody can listen there");
    (key, address, place)
}

/// Listening at port 0 answers the real port, at which connections are accepted.
pub fn port_zero_becomes_a_real_port<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (_key, address, _place) = listening(&mut rig, Family::Tcp);
    assert!(matches!(address, Address::Tcp(address) if address.port() != 0), "{address}");
    let _peers = rig.dial(&address, 1);
    rig.until("the connection", |rig| rig.incoming.len() == 1);
    rig.finish();
}

/// Listening at a path answers that path, and what is accepted there carries bytes both ways.
pub fn what_is_accepted_at_a_path_works<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (_key, address, place) = listening(&mut rig, Family::Unix);
    assert_eq!(&address, place.address());
    let dialling = rig.dial(&address, 1).pop();
    rig.until("the connection", |rig| rig.incoming.len() == 1);
    let mut peer = dialling.expect("one was asked for").peer();
    let socket = rig.incoming.pop_front().expect("a socket");
    let key = rig.key();
    rig.driver.attach(key, socket).expect("it can be attached");
    peer.write(b"question");
    rig.until_received(key, 8);
    rig.send(key, b"one answer, ");
    rig.send(key, b"and another");
    rig.until_sent(key);
    assert_eq!(peer.read(23), b"one answer, and another");
    rig.finish();
}

/// An address that somebody else listens at is an error, and so is one that does not want to be shared.
pub fn an_address_in_use_is_an_error<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let place = Place::new(family);
        let other = bed.listen(place.address(), bed.patience());
        for share in [false, true] {
            let key = rig.key();
            assert!(rig.driver.listen(key, &other.address, share).is_err(), "share: {share}");
        }
        let (_, own, _place) = listening(&mut rig, family);
        let key = rig.key();
        assert!(rig.driver.listen(key, &own, true).is_err(), "the first one does not share");
        rig.finish();
    }
}

/// A burst of connections is accepted whole.
pub fn a_burst_is_accepted_whole<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (_key, address, _place) = listening(&mut rig, bed.families()[0]);
    let burst = rig.dial(&address, bed.crowd());
    rig.until("all of them are accepted", |rig| rig.incoming.len() == burst.len());
    rig.finish();
}

/// A listener that is switched off lets connections wait, does not keep the driver awake, and accepts them later.
pub fn a_resting_listener_keeps_connections_waiting<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, address, _place) = listening(&mut rig, bed.families()[0]);
    rig.receive(key, false);
    rig.turn(Duration::ZERO);
    let _peers = rig.dial(&address, 3);
    let short = rig.short_waits(5, Duration::from_millis(10));
    assert!(rig.incoming.is_empty(), "accepted while resting");
    assert!(short <= 2, "{short} of 5 waits were short");
    rig.receive(key, true);
    rig.until("they are accepted", |rig| rig.incoming.len() == 3);
    rig.finish();
}

/// A listener that is closed refuses, and its address is free again.
pub fn a_closed_listener_refuses<B: Bed>(bed: &B) {
    for &family in bed.families() {
        let mut rig = Rig::new(bed);
        let (key, address, _place) = listening(&mut rig, family);
        rig.close(key);
        rig.until("the close", |rig| rig.log(key).closed);
        assert!(bed.dial(&address, bed.patience()).is_err(), "somebody still listens");
        let key = rig.key();
        rig.driver.listen(key, &address, false).expect("the address is free");
        rig.finish();
    }
}

/// The limit of descriptors of this process; put back when it is dropped, also by a case that fails.
struct DescriptorLimit {
    soft: u64,
    hard: u64,
}

impl DescriptorLimit {
    fn read() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
        Self { soft, hard }
    }

    fn lower(&self, soft: u64) {
        setrlimit(Resource::RLIMIT_NOFILE, soft, self.hard).expect("the limit can be lowered");
    }

    fn restore(&self) {
        setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard).expect("the limit can be raised");
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        self.restore();
    }
}

/// When descriptors run out a listener says so, without trying over and over once it is switched off, and accepts
/// the waiting connections when there are descriptors again; three times in a row.
///
/// Changes a limit of the whole process: to be run in a process of its own.
pub fn accepting_goes_on_after_descriptors_ran_out<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, address, _place) = listening(&mut rig, bed.families()[0]);
    let limit = DescriptorLimit::read();
    for episode in 1..=3 {
        let before = rig.incoming.len();
        // A transport may have read the limit when it was told to accept (io_uring does): it is told anew.
        rig.receive(key, false);
        rig.turn(Duration::ZERO);
        let peers = rig.dial(&address, 5);
        limit.lower(3);
        rig.receive(key, true);
        let accepts = rig.driver.system_calls().accept.get();
        rig.until("the failure is told", |rig| rig.accept_failures == episode);
        rig.receive(key, false);
        rig.linger(Duration::from_millis(50));
        assert_eq!(rig.accept_failures, episode, "it was given a rest");
        let accepts = rig.driver.system_calls().accept.get() - accepts;
        assert!(accepts <= 8, "{accepts} tries to accept in episode {episode}");
        limit.restore();
        rig.receive(key, true);
        rig.until("they are accepted", |rig| rig.incoming.len() == before + 5);
        drop(peers);
    }
    rig.finish();
}
