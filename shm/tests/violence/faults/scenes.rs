//! What calls are made for: both sides of a session, from its beginning to its end.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Instant;

use linkpoll_shm::Site;
use linkpoll_shm::bulk::{BulkBuffer, SealedBulk};
use linkpoll_shm::handshake::{
    Doorbell, Established, Handshake, HandshakeError, Options, Progress, accept, connect,
};
use linkpoll_shm::session::{Parked, Session, SessionError};

use crate::bare::Bare;
use crate::bed::{PATIENCE, Place, patient, payload};

/// What came of a scene.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What the sides say is wrong.
    errors: BTreeSet<String>,
    /// Bytes are not what they should be.
    pub(crate) is_garbled: bool,
    /// Everything was done.
    is_done: bool,
}

impl Outcome {
    fn failed(error: impl fmt::Display) -> Self {
        Self { errors: BTreeSet::from([error.to_string()]), ..Self::default() }
    }

    fn done() -> Self {
        Self { is_done: true, ..Self::default() }
    }

    /// Everything was done, and nothing is wrong.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_done && self.errors.is_empty() && !self.is_garbled
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("nobody notices");
        }
        let errors: Vec<&str> = self.errors.iter().map(String::as_str).collect();
        f.write_str(&errors.join(", "))
    }
}

/// See the module's documentation.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) play: fn() -> Outcome,
    /// The sites whose calls are made to fail here; all of them, where none is named.
    pub(crate) only: &'static [Site],
}

pub(crate) const SCENES: &[Scene] = &[
    Scene { name: "handshake", play: handshake, only: &[] },
    // On two threads only the first call is the same each time.
    Scene {
        name: "waiting",
        play: waiting,
        only: &[Site::Socket, Site::SetOption, Site::Connect, Site::Poll],
    },
    Scene { name: "sealed memory", play: || sealed(1 << 20), only: &[] },
    Scene { name: "little sealed memory", play: || sealed(1000), only: &[] },
    Scene { name: "traffic", play: || traffic(Doorbell::Socket), only: &[] },
    Scene { name: "traffic with eventfds", play: || traffic(Doorbell::EventFd), only: &[] },
];

fn options(doorbell: Doorbell) -> Options {
    Options { doorbell, ..patient().session }
}

/// How the two ends of a handshake have ended.
fn shake(doorbell: Doorbell) -> Result<[Established; 2], Outcome> {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let (now, options) = (Instant::now(), options(doorbell));
    let client = Handshake::client(one.into(), &options, now).map_err(Outcome::failed)?;
    let server = Handshake::server(other.into(), &options, now).map_err(Outcome::failed)?;
    let mut outcome = Outcome::default();
    let mut ends = [Some(client), Some(server)];
    let mut established = [None, None];
    for _ in 0..64 {
        for (end, established) in ends.iter_mut().zip(&mut established) {
            let Some(handshake) = end else { continue };
            match handshake.advance(Instant::now()) {
                Progress::NeedRead | Progress::NeedWrite => continue,
                Progress::Done(session) => *established = Some(*session),
                Progress::Failed(error) => {
                    outcome.errors.insert(error.to_string());
                }
                Progress::Asked(_) => panic!("nobody asks"),
            }
            // Its socket is closed, unless there is a session.
            *end = None;
        }
    }
    match established {
        [Some(client), Some(server)] => Ok([client, server]),
        _ => {
            let stuck = ends.iter().flatten().count();
            assert!(stuck == 0 || !outcome.errors.is_empty(), "{stuck} sides wait for ever");
            Err(outcome)
        }
    }
}

fn handshake() -> Outcome {
    match shake(Doorbell::EventFd) {
        Ok(_) => Outcome::done(),
        Err(outcome) => outcome,
    }
}

/// Both sides wait, each on its thread.
fn waiting() -> Outcome {
    let place = Place::new("scene");
    let listener = UnixListener::bind(place.path()).expect("a listener");
    let options = options(Doorbell::Socket);
    let (client, server) = thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (socket, _) = listener.accept().expect("a client");
            accept(socket.into(), &options)
        });
        let client = connect(place.path(), &options);
        if client.is_err() {
            // The server may have met nobody.
            drop(UnixStream::connect(place.path()));
        }
        (client, server.join().expect("no panic"))
    });
    let mut outcome = Outcome { is_done: client.is_ok() && server.is_ok(), ..Outcome::default() };
    let errors: Vec<HandshakeError> = [client.err(), server.err()].into_iter().flatten().collect();
    outcome.errors.extend(errors.iter().map(ToString::to_string));
    outcome
}

/// Memory is written, sealed, given away, checked, and mapped.
fn sealed(len: usize) -> Outcome {
    let bytes = payload(3, len);
    let play = || -> std::io::Result<linkpoll::buffer::Segment> {
        let mut buffer = BulkBuffer::new(bytes.len())?;
        buffer.bytes().copy_from_slice(&bytes);
        let fd: OwnedFd = buffer.seal()?.into_descriptor();
        let sealed = SealedBulk::accept(fd, bytes.len()).map_err(std::io::Error::other)?;
        sealed.into_segment().map_err(std::io::Error::other)
    };
    match play() {
        Ok(segment) => Outcome { is_garbled: segment[..] != bytes, ..Outcome::done() },
        Err(error) => Outcome::failed(error),
    }
}

/// One side of a conversation.
struct Side {
    bare: Bare,
    to_send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

impl Side {
    fn new(established: Established, to_send: Vec<u8>) -> Self {
        let bare = Bare::of(Session::new(established).expect("rings that fit"));
        Self { bare, to_send, sent: 0, received: Vec::new() }
    }

    /// Does what can be done, then announces that it would sleep. Answers whether it is done.
    fn turn(&mut self) -> Result<bool, SessionError> {
        self.bare.session.listen()?;
        let mut unsent = &self.to_send[self.sent..];
        if !unsent.is_empty() {
            // In parts, so that there are many records, of all kinds.
            let most = unsent.len().min(if self.sent < 3000 { 1000 } else { 70_000 });
            let mut part = &unsent[..most];
            self.sent += self.bare.send(&mut part)?;
            unsent = &self.to_send[self.sent..];
        }
        if unsent.is_empty() && !self.bare.session.has_ended() {
            self.bare.session.end()?;
        }
        loop {
            let bytes = self.bare.receive()?;
            if bytes.is_empty() {
                break;
            }
            self.received.extend(bytes);
        }
        let send = (self.sent < self.to_send.len()).then_some(1);
        while self.bare.session.park(!self.bare.is_ended, send)? == Parked::NotYet {
            let bytes = self.bare.receive()?.to_vec();
            let (is_over, is_empty) = (self.bare.is_ended, bytes.is_empty());
            self.received.extend(bytes);
            if is_over || (is_empty && send.is_some()) {
                break;
            }
        }
        Ok(self.bare.is_ended && self.bare.session.has_ended())
    }
}

/// Both sides send small messages and large ones, and end.
fn traffic(doorbell: Doorbell) -> Outcome {
    let [client, server] = match shake(doorbell) {
        Ok(ends) => ends,
        Err(outcome) => return outcome,
    };
    let sides = [(client, 400_000), (server, 300_000)];
    let mut sides =
        sides.map(|(end, len)| Some(Side::new(end, payload(len, usize::try_from(len).expect("a length")))));
    let expected = [payload(300_000, 300_000), payload(400_000, 400_000)];
    let mut outcome = Outcome::default();
    let (mut done, begun) = ([false; 2], Instant::now());
    while done != [true; 2] && sides.iter().any(Option::is_some) {
        assert!(begun.elapsed() < PATIENCE, "they do not come to an end: {outcome:?}");
        for ((side, done), expected) in sides.iter_mut().zip(&mut done).zip(&expected) {
            let Some(it) = side else { continue };
            let turn = it.turn();
            outcome.is_garbled |= !expected.starts_with(&it.received);
            match turn {
                Ok(is_done) => {
                    *done = is_done;
                    outcome.is_garbled |= is_done && it.received.len() != expected.len();
                }
                Err(error) => {
                    outcome.errors.insert(error.to_string());
                    it.bare.session.refuse(&error);
                    // Its socket is closed.
                    *side = None;
                }
            }
        }
    }
    outcome.is_done = done == [true; 2];
    outcome
}
