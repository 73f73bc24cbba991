//! What a hostile peer can say before there is a session: bytes, in pieces, with descriptors among them.
//!
//! The first byte is the role that is attacked. Each piece has a byte in front: its length less one in six bits, and in two
//! bits how many descriptors come with it.
//!
//! Built without the fuzzer's flags this is a program that replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

use linkpoll_shm::handshake::{Automaton, HandshakeError, LEAST_RING, MOST_RING, Options, Outcome};
use linkpoll_shm::wire::{Inbox, Role};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        check(&std::fs::read(&path)?);
        println!("{}: agrees", path.display());
    }
    Ok(())
}

/// What has been seen of the handshake.
#[derive(Default)]
struct Seen {
    taken: usize,
    mapped: usize,
    offered: usize,
    over: bool,
}

fn check(bytes: &[u8]) {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    let role = if first % 2 == 0 { Role::Server } else { Role::Client };
    let mut automaton = Automaton::new(role, &Options::default(), 11);
    let mut inbox = Inbox::new();
    let mut seen = Seen::default();
    while let Some((head, more)) = rest.split_first() {
        let (mut piece, behind) = more.split_at((usize::from(head & 0x3f) + 1).min(more.len()));
        rest = behind;
        let mut descriptors = head >> 6;
        while !piece.is_empty() {
            let space = inbox.space();
            assert!(!space.is_empty(), "all frames were taken, so there is room");
            assert!(space.len() <= 4100, "no frame is that long");
            let n = space.len().min(piece.len());
            space[..n].copy_from_slice(&piece[..n]);
            inbox.arrived(n, (0..std::mem::take(&mut descriptors)).map(Box::new));
            piece = &piece[n..];
            if !take_all(&mut automaton, &mut inbox, &mut seen) {
                return;
            }
        }
    }
}

/// Takes all frames; answers whether all were frames.
fn take_all(automaton: &mut Automaton, inbox: &mut Inbox<Box<u8>>, seen: &mut Seen) -> bool {
    loop {
        match inbox.take() {
            Ok(Some(frame)) => take(automaton, frame, seen),
            Ok(None) => return true,
            Err(error) => {
                assert_eq!(inbox.take().map(drop), Err(error), "an error stays");
                return false;
            }
        }
    }
}

fn take(automaton: &mut Automaton, frame: linkpoll_shm::wire::Frame<Box<u8>>, seen: &mut Seen) {
    let act = match automaton.take(frame) {
        Ok(act) => act,
        Err(error) => {
            assert_eq!(seen.over, matches!(error, HandshakeError::Over));
            seen.over = true;
            return;
        }
    };
    assert!(!seen.over, "what is over stays over");
    seen.taken += 1;
    if let Some(offered) = &act.map {
        seen.mapped += 1;
        assert!(offered.ring.is_power_of_two() && (LEAST_RING..=MOST_RING).contains(&offered.ring));
        assert!(offered.bell.is_none(), "eventfds were not agreed upon");
    }
    seen.offered += usize::from(act.offer.is_some());
    if act.outcome == Some(Outcome::Established) {
        assert_eq!((seen.taken, seen.mapped, seen.offered), (3, 1, 1));
    }
    seen.over |= act.outcome.is_some();
}
