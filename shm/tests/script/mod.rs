//! A session against a peer that follows a script: keeps to the protocol as far as the script does, and otherwise writes
//! whatever it says into everything that a peer may write: its words, its ring, its releases, the socket.
//!
//! Every sequence of bytes is a script. What must hold:
//!
//! * no panic, and every operation of ours ends;
//! * an error stays: whatever is asked of the session after it fails in the same way;
//! * what was received is no more than what the peer's counters have ever claimed;
//! * a peer that keeps to the protocol costs no error: bytes arrive as they were sent, in both directions, also those from
//!   before it is gone; and who sleeps is rung for.
//!
//! The peer's own part is the shipped code, too, with other words written over its own in between.

mod loans;
mod peer;
mod victim;

use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Instant;

use linkpoll_shm::handshake::{Established, Handshake, Options, Progress};
use linkpoll_shm::wire::Role;
use peer::Peer;
use victim::Victim;

/// The most operations of one script. More find nothing new, and take time.
const MOST_OPERATIONS: usize = 400;

/// What has come of a script, to see that scripts reach what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Played {
    /// The peer kept to the protocol to the end.
    pub(crate) honest: bool,
    /// The session ended with an error.
    pub(crate) failed: bool,
    /// Bytes that were received.
    pub(crate) received: u64,
    /// Bytes that the peer has read.
    pub(crate) heard: u64,
}

/// The rest of a script. Behind its end there are zeroes.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn word(&mut self) -> u32 {
        u32::from(self.short()) | u32::from(self.short()) << 16
    }

    /// Whether to do something that can be done once.
    fn rarely(&mut self) -> bool {
        self.byte() > 220
    }

    /// A length up to `most`: often a small one.
    fn len(&mut self, most: usize) -> usize {
        match self.byte() {
            0 => most,
            small @ 1..128 => usize::from(small - 1).min(most),
            _ => usize::from(self.short()) % (most + 1),
        }
    }
}

/// A bit of the first byte: operations that break the protocol are left out.
pub(crate) const KEEPS_TO_PROTOCOL: u8 = 4;

/// How many bytes it takes until a stream repeats itself.
const PERIOD: usize = 8191;

/// Two periods, so that any piece no longer than one lies in it.
fn periods() -> &'static [u8] {
    static PERIODS: OnceLock<Vec<u8>> = OnceLock::new();
    PERIODS.get_or_init(|| {
        let noise = |at: usize| (at.wrapping_mul(0x9E37_79B9) >> 11).to_le_bytes()[0];
        (0..2 * PERIOD).map(|at| noise(at % PERIOD)).collect()
    })
}

/// The stream from `at` on, in pieces.
fn stream(at: u64) -> impl Iterator<Item = &'static [u8]> {
    let first = usize::try_from(at % PERIOD as u64).expect("less than a period");
    std::iter::repeat(&periods()[first..first + PERIOD])
}

/// Writes the stream from `at` on.
fn write_stream(at: u64, into: &mut [u8]) {
    for (to, from) in into.chunks_mut(PERIOD).zip(stream(at)) {
        to.copy_from_slice(&from[..to.len()]);
    }
}

/// So many bytes of the stream from `at` on.
fn bytes_of_stream(at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    write_stream(at, &mut bytes);
    bytes
}

/// Whether these are the bytes of the stream from `at` on.
fn is_stream(at: u64, bytes: &[u8]) -> bool {
    bytes.chunks(PERIOD).zip(stream(at)).all(|(found, expected)| *found == expected[..found.len()])
}

/// Plays a script.
///
/// # Panics
/// When something does not hold.
pub(crate) fn play(bytes: &[u8]) -> Played {
    let mut script = Script(bytes);
    let first = script.byte();
    let keeps_to_protocol = first & KEEPS_TO_PROTOCOL != 0;
    let (ours, theirs) = establish(first);
    let mut peer = Peer::new(theirs);
    let mut victim = Victim::new(ours);
    for _ in 0..MOST_OPERATIONS {
        if script.0.is_empty() {
            break;
        }
        let operation = script.byte() % 32;
        if keeps_to_protocol && (17..=25).contains(&operation) {
            continue;
        }
        step(operation, &mut script, &mut peer, &mut victim);
        victim.check(&peer);
    }
    victim.finish(&mut peer);
    Played { honest: peer.honest, failed: victim.failed(), received: victim.received, heard: peer.heard }
}

/// Two ends of a session. The smallest rings, so that they are full and wrap soon.
fn establish(first: u8) -> (Established, Established) {
    let ring = if first & 2 == 0 { 4 << 10 } else { 8 << 10 };
    // Arenas take time, so not all scripts have some.
    let arena = if first & 8 == 0 { 0 } else { 8 << 20 };
    let options = Options { ring, arena, bulk: 64 << 10, ..Options::default() };
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let (ours, theirs) =
        if first & 1 == 0 { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
    let begin = |role, socket: UnixStream| {
        let begin = if role == Role::Server { Handshake::server } else { Handshake::client };
        begin(socket.into(), &options, Instant::now()).expect("a handshake begins")
    };
    let mut sides = [(begin(ours, one), None), (begin(theirs, other), None)];
    // Each side needs three looks.
    for turn in 0..8 {
        let (handshake, done) = &mut sides[turn % 2];
        if done.is_none() {
            match handshake.advance(Instant::now()) {
                Progress::Done(established) => *done = Some(*established),
                Progress::NeedRead => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let [(_, Some(ours)), (_, Some(theirs))] = sides else { panic!("no session after four looks each") };
    (ours, theirs)
}

/// One operation of either side.
fn step(operation: u8, script: &mut Script<'_>, peer: &mut Peer, victim: &mut Victim) {
    match operation {
        0..=2 => {
            let len = script.len(peer.longest());
            peer.push(len);
        }
        3 => peer.publish(victim),
        4 => {
            let room = script.len(6000);
            let budget = script.len(6000);
            victim.receive(peer, room, budget);
        }
        5 => {
            let len = script.len(40_000);
            let own = script.byte().is_multiple_of(2);
            victim.send(peer, len, own);
        }
        6 => {
            let how = script.byte();
            let send = (how & 2 != 0).then(|| script.len(5000));
            victim.park(peer, how & 1 != 0, send);
        }
        7 => victim.listen(peer),
        8 if script.rarely() => victim.end(peer),
        9 => victim.look(peer),
        10 => {
            let records = script.byte();
            peer.read(victim, records.into());
        }
        11 => peer.settle(script.byte().is_multiple_of(2)),
        12 if script.byte().is_multiple_of(2) => peer.park(victim),
        12 => peer.wait_for_room(victim),
        13 if script.rarely() => peer.end(),
        14 => {
            let len = script.len(8000) + 1;
            peer.give_bulk(len);
        }
        15 => peer.listen(),
        16 if script.rarely() => peer.close(script.byte()),
        17 => peer.nudge_word(script.byte(), script.byte()),
        18 => peer.set_word(script.byte(), script.word()),
        19 => {
            let (at, len, kind) = (script.short(), script.word(), script.byte());
            peer.scribble_header(at, len, kind);
        }
        20 => {
            let (at, n, value) = (script.word(), script.byte(), script.byte());
            peer.scribble(at as usize, n.into(), value);
        }
        21 => {
            let bytes: Vec<u8> = (0..script.byte() % 40).map(|_| script.byte()).collect();
            peer.say_bytes(&bytes);
        }
        22 => {
            let (kind, number, len) = (script.byte(), script.word(), script.word());
            peer.say_frame(kind, number, len);
        }
        23 => {
            let kind = script.byte();
            let bytes: Vec<u8> = (0..script.byte() % 32).map(|_| script.byte()).collect();
            peer.push_anything(kind, &bytes);
        }
        24 if script.byte().is_multiple_of(2) => peer.release(script.word()),
        24 => {
            let (arena, offset, length) = (script.byte(), script.word(), script.word());
            peer.lie_about_loan(arena, offset, length);
        }
        25 => {
            let (number, len) = (script.word(), script.byte());
            peer.lie_about_bulk(number, len.into());
        }
        26 => {
            let len = script.len(60_000) + 1;
            peer.lend(len);
        }
        27 => peer.give_back(script.byte().into(), script.byte() > 128),
        // A turn of both sides, which scripts need often.
        28 | 29 => {
            let len = script.len(peer.longest());
            peer.push(len);
            peer.publish(victim);
            victim.listen(peer);
            victim.receive(peer, 6000, 6000);
        }
        _ => {
            let len = script.len(20_000);
            victim.send(peer, len, len.is_multiple_of(2));
            peer.listen();
            peer.read(victim, usize::MAX);
            peer.settle(true);
        }
    }
}
