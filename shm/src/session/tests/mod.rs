//! Pairs of sessions in one process, over real sockets and real memory.

mod hostile;
mod lending;
mod prop;

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment, Tail};

use super::{Received, Room, Session, SessionError};
use crate::handshake::{Established, Handshake, Options, Progress};

/// Long enough for the slowest machine.
fn options() -> Options {
    Options { step: Duration::from_secs(600), ..Options::default() }
}

/// Both sides of a handshake that has gone well.
fn established(client: &Options, server: &Options) -> (Established, Established) {
    let (one, other) = UnixStream::pair().unwrap();
    let now = Instant::now();
    let mut client = Handshake::client(one.into(), client, now).unwrap();
    let mut server = Handshake::server(other.into(), server, now).unwrap();
    let (mut one, mut other) = (None, None);
    while one.is_none() || other.is_none() {
        if one.is_none()
            && let Some(established) = step(&mut client)
        {
            one = Some(established);
        }
        if other.is_none()
            && let Some(established) = step(&mut server)
        {
            other = Some(established);
        }
    }
    (one.unwrap(), other.unwrap())
}

fn step(handshake: &mut Handshake) -> Option<Established> {
    match handshake.advance(Instant::now()) {
        Progress::NeedRead | Progress::NeedWrite => None,
        Progress::Done(established) => Some(*established),
        other => panic!("no session: {other:?}"),
    }
}

fn pair() -> (Session, Session) {
    let (a, b) = established(&options(), &options());
    (Session::new(a).unwrap(), Session::new(b).unwrap())
}

/// A pair where `a` has an arena of one chunk.
fn pair_with_arena() -> (Session, Session) {
    let (mut a, mut b) = pair();
    assert!(a.allocate(5000).unwrap().is_none(), "there is none before it is needed");
    b.listen().unwrap();
    a.listen().unwrap();
    assert_eq!(a.counters().arenas, 1);
    (a, b)
}

/// The byte at this place of a stream.
#[expect(clippy::cast_possible_truncation, reason = "one byte of a mixture")]
fn byte(at: usize) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

/// The bytes of a stream from `at` on.
fn bytes(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(byte).collect()
}

fn is_right(found: &[u8], at: usize) -> bool {
    found.iter().zip(at..).all(|(found, at)| *found == byte(at))
}

/// A segment of the stream's bytes, in this memory.
fn written(mut tail: Tail, at: usize, len: usize) -> Segment {
    tail.spare()[..len].copy_from_slice(&bytes(at, len));
    tail.commit(len)
}

fn chain(segments: impl IntoIterator<Item = Segment>) -> Chain {
    let mut chain = Chain::new();
    segments.into_iter().for_each(|segment| chain.push(segment));
    chain
}

/// Receives at most about `budget` bytes, and checks that they are those from `at` on. Answers how many they were.
fn receive(session: &mut Session, at: usize, budget: usize) -> Result<usize, SessionError> {
    let mut block = vec![0; session.least_room() + budget];
    match session.receive(&mut Room { first: &mut block, second: &mut [] }, budget)? {
        Received::Nothing | Received::End => Ok(0),
        Received::Copied(n) => {
            assert!(is_right(&block[..n], at), "{n} bytes from {at} on");
            Ok(n)
        }
        Received::Sealed(_) => panic!("nothing was sealed"),
    }
}

/// Receives all that is there.
fn drain(session: &mut Session, mut at: usize) -> usize {
    let from = at;
    loop {
        match receive(session, at, 100_000).unwrap() {
            0 => return at - from,
            n => at += n,
        }
    }
}
