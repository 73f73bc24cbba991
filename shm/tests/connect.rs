//! Clients and servers that wait, over a path.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll_shm::handshake::{
    Handshake, HandshakeError, Options, Progress, Step, accept, ask_statistics, connect,
};
use linkpoll_shm::wire::{Frame, Refusal};

/// A path of the test's own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linkpoll-shm-{name}-{}.sock", std::process::id()));
        drop(std::fs::remove_file(&path));
        Self(path)
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(&self.0).expect("a listener")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Long enough for the slowest machine.
fn patient() -> Options {
    Options { step: Duration::from_secs(60), ..Options::default() }
}

#[test]
fn a_client_finds_its_server() {
    let place = Place::new("session");
    let listener = place.listen();
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        accept(socket.into(), &patient())
    });
    let client = connect(&place.0, &patient()).expect("a session");
    let server = server.join().expect("no panic").expect("a session");
    assert_eq!(client.agreed.id, server.agreed.id);
    assert_eq!(client.credentials.user, server.credentials.user);
}

#[test]
fn who_is_refused_learns_why() {
    let place = Place::new("refused");
    let listener = place.listen();
    let strict = Options {
        policy: linkpoll_shm::handshake::Policy::Only { users: vec![], groups: vec![] },
        ..patient()
    };
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        accept(socket.into(), &strict)
    });
    let client = connect(&place.0, &patient());
    assert!(matches!(client, Err(HandshakeError::Refused(Refusal::Policy))), "{client:?}");
    assert!(matches!(server.join().expect("no panic"), Err(HandshakeError::NotWelcome(_))));
}

#[test]
fn statistics_are_read_without_a_session() {
    let place = Place::new("statistics");
    let listener = place.listen();
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        let mut handshake = Handshake::server(socket.into(), &patient(), Instant::now()).expect("a socket");
        loop {
            match handshake.advance(Instant::now()) {
                Progress::NeedRead => thread::yield_now(),
                Progress::Asked(mut control) => {
                    control.send(Frame::Statistics("sessions 2\n".to_owned())).expect("it is sent");
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let text = ask_statistics(&place.0, Duration::from_secs(60)).expect("statistics");
    assert_eq!(text, "sessions 2\n");
    server.join().expect("no panic");
}

#[test]
fn nobody_waits_for_ever() {
    let place = Place::new("silent");
    let missing = connect(&place.0, &patient());
    assert!(matches!(&missing, Err(HandshakeError::Local(error)) if error.kind() == ErrorKind::NotFound));

    // A server that does not accept: the kernel takes the connection, and nobody answers.
    let listener = place.listen();
    let hasty = Options { step: Duration::from_millis(20), ..Options::default() };
    let silent = connect(&place.0, &hasty);
    assert!(matches!(silent, Err(HandshakeError::TimedOut(Step::Hello))), "{silent:?}");
    let silent = ask_statistics(&place.0, Duration::from_millis(20));
    assert!(
        matches!(&silent, Err(HandshakeError::Local(e)) if e.kind() == ErrorKind::TimedOut),
        "{silent:?}"
    );

    // Its queue is full sometime.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).expect("a queue"))
        .expect("shorter");
    let full = (0..64).map(|_| connect(&place.0, &hasty)).find_map(|result| match result {
        Err(HandshakeError::TimedOut(Step::Hello)) => None,
        other => Some(other),
    });
    let full = full.expect("the queue is full");
    assert!(matches!(&full, Err(HandshakeError::Local(e)) if e.kind() == ErrorKind::TimedOut), "{full:?}");

    // A server that is gone leaves its file.
    drop(listener);
    let gone = connect(&place.0, &hasty);
    assert!(
        matches!(&gone, Err(HandshakeError::Local(e)) if e.kind() == ErrorKind::ConnectionRefused),
        "{gone:?}"
    );
}
