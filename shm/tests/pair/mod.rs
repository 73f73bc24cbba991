//! Two ends of a session, in one process.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use linkpoll_shm::handshake::{Established, Handshake, Options, Progress, accept};

/// Both ends of a session.
pub(crate) fn ends() -> (Established, Established) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let options = Options { step: Duration::from_secs(60), ..Options::default() };
    let theirs = options.clone();
    let server = std::thread::spawn(move || accept(other.into(), &theirs).expect("a session"));
    let mut client = Handshake::client(one.into(), &options, Instant::now()).expect("a client");
    let client = loop {
        match client.advance(Instant::now()) {
            Progress::Done(client) => break *client,
            Progress::NeedRead | Progress::NeedWrite => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    };
    (client, server.join().expect("no panic"))
}
