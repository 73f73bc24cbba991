//! One side of a session without a loop is killed: the other receives all that was published, and then learns of it.

use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll_conformance::isolated;
use linkpoll_shm::handshake::HandshakeError;
use linkpoll_shm::session::{Parked, SessionError};

use super::calls::quantiles;
use super::victim::Victim;
use super::victims::{PATTERN, ROLE};
use super::{kills, some_time};
use crate::bare::Bare;
use crate::bed::{Holdings, Place, named, payload, report, until};

/// Sends and receives until the peer is gone. Answers how many bytes were received, and when the end was known.
pub(super) fn survive(mut bare: Bare, pattern: &[u8]) -> (u64, Instant) {
    let (mut sent, mut received, mut nobody_reads) = (0, 0, false);
    loop {
        let at = sent % PATTERN;
        // Large pieces are lent, small ones are not.
        let most = [2000, 30_000][usize::from(sent % 3 == 1)];
        let mut unsent = &pattern[at..PATTERN.min(at + most)];
        let took = match bare.send(&mut unsent) {
            _ if nobody_reads => 0,
            Ok(n) => n,
            Err(SessionError::NobodyReads) => {
                nobody_reads = true;
                0
            }
            Err(error) => panic!("{error}"),
        };
        sent += took;
        let bytes = match bare.receive() {
            Ok(bytes) => bytes,
            Err(SessionError::PeerGone) => return (received, Instant::now()),
            Err(error) => panic!("{error}"),
        };
        let from = usize::try_from(received % PATTERN as u64).expect("inside of the pattern");
        let (first, second) = bytes.split_at(bytes.len().min(PATTERN - from));
        assert!(first == &pattern[from..from + first.len()], "bytes behind {received}");
        assert!(second.chunks(PATTERN).all(|part| part == &pattern[..part.len()]), "bytes behind {received}");
        received += bytes.len() as u64;
        if took == 0 && bytes.is_empty() {
            match bare.wait(usize::from(!nobody_reads)) {
                Ok(()) | Err(SessionError::PeerGone | SessionError::NobodyReads) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Who only waits for room, and does not receive, does not sleep on a peer that is gone.
#[test]
fn who_waits_for_room_hears_of_a_death() {
    let place = Place::new("room");
    let listener = UnixListener::bind(place.path()).expect("a listener");
    let (mut survivor, peer) = thread::scope(|scope| {
        let peer = scope.spawn(|| Bare::connect(place.path()).expect("a session"));
        (Bare::accept(&listener).expect("a session"), peer.join().expect("a session"))
    });
    let bytes = vec![7; 1 << 20];
    while survivor.send(&mut &bytes[..]).expect("a peer that does not read") > 0 {}
    assert_eq!(survivor.session.park(false, Some(bytes.len())).expect("a session"), Parked::Sleeping);
    drop(peer);
    until("the death is heard of", || {
        survivor.session.listen().expect("it is no violation");
        survivor.session.peer_is_gone()
    });
    assert_eq!(survivor.session.park(false, Some(bytes.len())).expect("a session"), Parked::NotYet);
    assert!(matches!(survivor.send(&mut &bytes[..]), Err(SessionError::NobodyReads)));
}

/// Whether a handshake may end so whose peer was killed.
pub(super) fn is_death(error: &HandshakeError) -> bool {
    match error {
        HandshakeError::Closed(_) => true,
        HandshakeError::Local(error) => error.raw_os_error() == Some(libc::ECONNREFUSED),
        _ => false,
    }
}

/// Whatever was published before the death is received, byte by byte, and then the end is known as what it is: at any
/// moment of either role.
#[test]
fn what_was_published_before_a_death_is_received() {
    isolated(module_path!(), "what_was_published_before_a_death_is_received", || {
        let (before, names) = (Holdings::now(), named());
        let pattern = &payload(7, PATTERN);
        let (mut sessions, mut bytes, mut times) = (0, 0, Vec::new());
        for number in 0..kills() {
            let place = Place::new("bare");
            let listens = number % 2 == 0;
            let role = if listens { "listens" } else { "connects" };
            let listener = (!listens).then(|| UnixListener::bind(place.path()).expect("a listener"));
            let variables = [(ROLE, role.to_owned())];
            let mut victim = Victim::run("kills::victims::a_bare_peer", number, &place.text(), &variables);
            victim.hear("at work");
            let survived = thread::scope(|scope| {
                let survivor = scope.spawn(|| {
                    let bare = match &listener {
                        Some(listener) => Bare::accept(listener),
                        None => Bare::connect(place.path()),
                    };
                    match bare {
                        Ok(bare) => Some(survive(bare, pattern)),
                        Err(error) if is_death(&error) => None,
                        Err(error) => panic!("{error}"),
                    }
                });
                if number % 4 != 3 {
                    victim.hear("in session");
                }
                some_time(number, Duration::from_millis(8));
                let killed = victim.kill();
                until("the victim's process is gone", || victim.is_dead());
                if let Some(_listener) = &listener {
                    // Should the victim have died before it has connected, then this is the peer that is gone at once.
                    drop(std::os::unix::net::UnixStream::connect(place.path()));
                }
                let survived = survivor.join().expect("bytes as they should be");
                survived.map(|(received, known)| (received, known - killed))
            });
            drop(listener);
            let published = victim.bury();
            if let Some((received, time)) = survived {
                assert!(received >= published, "{published} bytes published, and {received} received");
                sessions += 1;
                bytes += received;
                times.push(time);
            } else {
                assert_eq!(published, 0, "nothing is published without a session");
            }
            if number % 16 == 15 {
                before.restored("victims are gone");
            }
        }
        let [median, late] = quantiles(times);
        report(
            "kills-of-bare-peers.txt",
            &format!(
                "{} peers killed, {sessions} in a session; {bytes} bytes received; \
                 from the kill until the survivor knew: p50 {median:?}, p99 {late:?}",
                kills(),
            ),
        );
        assert!(sessions >= kills() / 2, "most die in a session");
        assert!(late < Duration::from_secs(10), "the survivor learns it soon: {late:?}");
        before.restored("all is over");
        assert_eq!(named(), names, "names in shared memory");
    });
}
