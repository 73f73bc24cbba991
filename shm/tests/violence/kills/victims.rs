//! What victims do until they are killed. Without their variables these tests do nothing.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use linkpoll::net::Address;
use linkpoll::reactor::Spin;
use linkpoll_shm::session::SessionError;

use super::calls::visit;
use crate::bare::Bare;
use crate::bed::{Random, loops, payload, server};

/// The path of a server's socket.
pub(crate) const PATH: &str = "LINKPOLL_VICTIM_PATH";
/// The file that a victim writes its progress to.
pub(crate) const PROGRESS: &str = "LINKPOLL_VICTIM_PROGRESS";
/// `once`: its loop looks once before it sleeps.
pub(crate) const SPIN: &str = "LINKPOLL_VICTIM_SPIN";
/// `listens`: a bare peer takes the part of the server.
pub(crate) const ROLE: &str = "LINKPOLL_VICTIM_ROLE";

pub(crate) fn path() -> Option<PathBuf> {
    env::var_os(PATH).map(PathBuf::from)
}

pub(crate) fn say(what: &str) {
    println!("\n{what}");
    io::stdout().flush().expect("a pipe");
}

fn spin() -> Spin {
    if env::var(SPIN).is_ok_and(|spin| spin == "once") { Spin::Once } else { Spin::Never }
}

/// Echoes until it is killed, or its killer is gone.
#[test]
fn a_server() {
    let Some(path) = path() else { return };
    let (server, _ends) = server(&Address::Unix(path), spin());
    say("listening");
    // The killer says nothing. Should it go, so does its victim.
    drop(io::stdin().read(&mut [0]));
    drop(server);
}

/// Calls through the library until it is killed: small messages and large ones, several at once, and half-closes.
#[test]
fn a_caller() {
    let Some(path) = path() else { return };
    let address = Address::Unix(path);
    let loops = loops(spin());
    say("at work");
    while visit(&loops.dialer(), &address, 1).is_some_and(|calls| calls.failed == 0) {}
    panic!("the server is there, and answers");
}

/// Half-closes sessions without a loop until it is killed: asks, ends its direction, and reads to the end.
#[test]
fn a_half_closer() {
    let Some(path) = path() else { return };
    say("at work");
    for kind in 0.. {
        let message = payload(kind, 3000);
        let mut request = u32::try_from(message.len()).expect("a short message").to_be_bytes().to_vec();
        request.extend(&message);
        let mut bare = Bare::connect(&path).expect("the server is there");
        let mut unsent = &request[..];
        while bare.send(&mut unsent).is_ok_and(|_| !unsent.is_empty()) {}
        bare.session.end().expect("the server is there");
        let mut reply: Vec<u8> = Vec::new();
        while !bare.is_ended {
            reply.extend(bare.receive().expect("the server is there"));
            if !bare.is_ended {
                bare.wait(0).expect("the server is there");
            }
        }
        assert!(reply == request, "a reply behind a half-close");
    }
}

/// What flows through a session without a loop: a pattern in each direction.
pub(crate) const PATTERN: usize = 65_521;

/// Sends and receives without a loop until it is killed. It writes down how many bytes it has published, behind each
/// send: as far as the file says, they must be received.
#[test]
fn a_bare_peer() {
    let Some(path) = path() else { return };
    let file = File::options().write(true).open(env::var_os(PROGRESS).expect("a file")).expect("a file");
    let mut bare = if env::var(ROLE).is_ok_and(|role| role == "listens") {
        let listener = UnixListener::bind(path).expect("a path");
        say("at work");
        Bare::accept(&listener).expect("a session")
    } else {
        say("at work");
        Bare::connect(&path).expect("a session")
    };
    say("in session");
    let pattern = payload(7, PATTERN);
    let mut random = Random(u64::from(std::process::id()));
    let (mut published, mut received) = (0_u64, 0_usize);
    loop {
        let at = usize::try_from(published % PATTERN as u64).expect("inside of the pattern");
        let len = [1, 17, 300, 3000, 9000, 40_000][random.below(6)].min(PATTERN - at);
        let mut unsent = &pattern[at..at + len];
        let sent = bare.send(&mut unsent).expect("the survivor is there");
        published += sent as u64;
        file.write_at(&published.to_le_bytes(), 0).expect("the killer's file");
        let bytes = bare.receive().expect("the survivor is there");
        for byte in bytes {
            assert_eq!(*byte, pattern[received % PATTERN], "byte {received}");
            received += 1;
        }
        let idle = sent == 0 && bytes.is_empty();
        if idle && let Err(error @ SessionError::Violation(_)) = bare.wait(1) {
            panic!("{error}");
        }
    }
}
