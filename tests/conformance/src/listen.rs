//! Clauses about listeners.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use linkpoll::driver::{Driver as _, Key};
use linkpoll::net::Address;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::life::SocketPath;
use crate::{Bed, Rig};

fn any_port() -> Address {
    Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn listening<B: Bed>(rig: &mut Rig<'_, B>) -> (Key, SocketAddr) {
    let key = rig.key();
    match rig.driver.listen(key, &any_port(), false).expect("a port") {
        Address::Tcp(address) => (key, address),
        Address::Unix(path) => panic!("asked for a port, got {path:?}"),
    }
}

/// Listening at port 0 answers the real port, at which connections are accepted; so is a path.
pub fn port_zero_becomes_a_real_port<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (_key, address) = listening(&mut rig);
    assert_ne!(address.port(), 0);
    let _stream = TcpStream::connect(address).expect("somebody listens");
    rig.until("the connection", |rig| rig.incoming.len() == 1);

    let path = SocketPath::new("listen");
    let key = rig.key();
    let unix = Address::Unix(path.0.clone());
    assert_eq!(rig.driver.listen(key, &unix, false).expect("a path"), unix);
    let _stream = std::os::unix::net::UnixStream::connect(&path.0).expect("somebody listens");
    rig.until("the connection", |rig| rig.incoming.len() == 2);
    // What was accepted works.
    let socket = rig.incoming.pop_front().expect("a socket");
    let other = rig.key();
    rig.driver.attach(other, socket).expect("it can be attached");
    rig.finish();
}

/// A port that somebody else listens at is an error, and so is one that does not want to be shared.
pub fn a_port_in_use_is_an_error<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = Address::Tcp(other.local_addr().expect("an address"));
    for share in [false, true] {
        let key = rig.key();
        assert!(rig.driver.listen(key, &taken, share).is_err(), "share: {share}");
    }
    let (_, own) = listening(&mut rig);
    let key = rig.key();
    assert!(rig.driver.listen(key, &Address::Tcp(own), true).is_err(), "the first one does not share");
    rig.finish();
}

/// A burst of connections is accepted whole.
pub fn a_burst_is_accepted_whole<B: Bed>(bed: &B) {
    const BURST: usize = 300;
    let mut rig = Rig::new(bed);
    let (_key, address) = listening(&mut rig);
    let streams: Vec<_> =
        (0..BURST).map(|_| TcpStream::connect(address).expect("somebody listens")).collect();
    rig.until("all of them are accepted", |rig| rig.incoming.len() == BURST);
    drop(streams);
    rig.finish();
}

/// A listener that is switched off lets connections wait, does not keep the driver awake, and accepts them later.
pub fn a_resting_listener_keeps_connections_waiting<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, address) = listening(&mut rig);
    rig.receive(key, false);
    rig.turn(Duration::ZERO);
    let _streams: Vec<_> = (0..3).map(|_| TcpStream::connect(address).expect("it still listens")).collect();
    let short = rig.short_waits(5, Duration::from_millis(10));
    assert!(rig.incoming.is_empty(), "accepted while resting");
    assert!(short <= 2, "{short} of 5 waits were short");
    rig.receive(key, true);
    rig.until("they are accepted", |rig| rig.incoming.len() == 3);
    rig.finish();
}

/// A listener that is closed refuses, and its port is free again.
pub fn a_closed_listener_refuses<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, address) = listening(&mut rig);
    rig.close(key);
    rig.until("the close", |rig| rig.log(key).closed);
    assert!(TcpStream::connect(address).is_err(), "somebody still listens");
    let key = rig.key();
    rig.driver.listen(key, &Address::Tcp(address), false).expect("the port is free");
    rig.finish();
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
    let (key, address) = listening(&mut rig);
    let limit = DescriptorLimit::read();
    for episode in 1..=3 {
        let before = rig.incoming.len();
        // A transport may have read the limit when it was told to accept (io_uring does): it is told anew.
        rig.receive(key, false);
        rig.turn(Duration::ZERO);
        let streams: Vec<_> =
            (0..5).map(|_| TcpStream::connect(address).expect("somebody listens")).collect();
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
        drop(streams);
    }
    rig.finish();
}
