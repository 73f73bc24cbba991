//! Drivers of shared memory, and other ends for their sessions.

use std::any::Any;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::driver::Driver as _;
use linkpoll::net::Address;
use linkpoll_conformance::{Ability, Bed, Dialled, Dialling, Family, Listening, Place};
use linkpoll_shm::handshake::{self, Doorbell, Handshake, Options, Progress};
use linkpoll_shm::session::Session;
use linkpoll_shm::{ShmDriver, ShmOptions, ShmSocket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::peer::ShmPeer;

/// Longer than anything takes here, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Drivers of shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShmBed {
    /// The bytes of each ring.
    pub(crate) ring: u32,
    /// How both sides ring.
    pub(crate) doorbell: Doorbell,
    /// The most bytes received from a session in one turn.
    pub(crate) receive_budget: usize,
}

impl ShmBed {
    fn session(self) -> Options {
        Options { ring: self.ring, doorbell: self.doorbell, step: PATIENCE, ..Options::default() }
    }
}

/// Waits until a handshake has brought a session.
fn finish(mut handshake: Handshake) -> Session {
    loop {
        let events = match handshake.advance(Instant::now()) {
            Progress::Done(established) => return Session::new(*established).expect("a session"),
            Progress::NeedRead => PollFlags::POLLIN,
            Progress::NeedWrite => PollFlags::POLLIN | PollFlags::POLLOUT,
            other => panic!("no session: {other:?}"),
        };
        poll(&mut [PollFd::new(handshake.as_fd(), events)], PollTimeout::from(100_u16))
            .expect("a socket can be watched");
    }
}

fn begin(socket: OwnedFd, options: &Options) -> Handshake {
    Handshake::client(socket, options, Instant::now()).expect("a handshake")
}

impl Bed for ShmBed {
    type Driver = ShmDriver;
    type Peer = ShmPeer;

    fn driver(&self, memory: usize) -> ShmDriver {
        #[allow(clippy::needless_update, reason = "options that are added keep their defaults here")]
        let options = ShmOptions {
            session: self.session(),
            memory,
            receive_budget: self.receive_budget,
            // Fewer than connections come at once.
            handshakes: 16,
            ..ShmOptions::default()
        };
        ShmDriver::new(options).expect("a driver can be had")
    }

    fn families(&self) -> &'static [Family] {
        &[Family::Unix]
    }

    fn has(&self, ability: Ability) -> bool {
        !matches!(ability, Ability::Ports | Ability::UrgentBytes | Ability::Descriptors)
    }

    fn pair(&self, _family: Family, patience: Duration) -> (ShmPeer, ShmSocket) {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        let options = self.session();
        let client = begin(ours.into(), &options);
        let client = thread::spawn(|| finish(client));
        let server = handshake::accept(theirs.into(), &options).expect("a session");
        let socket = ShmSocket::new(Session::new(server).expect("a session"), Address::Unix(PathBuf::new()));
        assert_eq!(ShmDriver::peer(&socket), Address::Unix(PathBuf::new()));
        (ShmPeer::new(client.join().expect("a session"), patience), socket)
    }

    fn dial(&self, address: &Address, patience: Duration) -> Dialled<ShmPeer> {
        let Address::Unix(path) = address else { panic!("{address} is no path") };
        let handshake = begin(UnixStream::connect(path)?.into(), &self.session());
        Ok(Dialling::UnderWay(thread::spawn(move || ShmPeer::new(finish(handshake), patience))))
    }

    fn listen(&self, address: &Address, patience: Duration) -> Listening<ShmPeer> {
        let Address::Unix(path) = address else { panic!("{address} is no path") };
        let listener = UnixListener::bind(path).expect("a path");
        let options = self.session();
        Listening::new(address.clone(), move || {
            let (socket, _) = listener.accept().expect("a connection");
            let established = handshake::accept(socket.into(), &options).expect("a session");
            ShmPeer::new(Session::new(established).expect("a session"), patience)
        })
    }

    fn silence(&self) -> (Address, Box<dyn Any>) {
        let place = Place::new(Family::Unix);
        let listener = UnixListener::bind(place.path().expect("a path")).expect("it is free");
        (place.address().clone(), Box::new((listener, place)))
    }

    fn room(&self) -> usize {
        self.ring as usize / 2
    }

    fn crowd(&self) -> usize {
        50
    }
}
