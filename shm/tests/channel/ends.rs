//! How a channel ends.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::thread;

use linkpoll::reactor::Spin;
use linkpoll_shm::channel::{Channel, ChannelError, Listener};
use linkpoll_shm::handshake::{self, HandshakeError, Options};
use linkpoll_shm::session::{Session, SessionError};
use linkpoll_shm::wire::Refusal;

use crate::bed::{Place, options, pair};

#[test]
fn what_was_sent_before_an_end_arrives() {
    let (mut a, mut b) = pair("before-end", &options(Spin::Never, 4 << 10));
    a.send(b"one").expect("room");
    a.stage(b"two").expect("room");
    drop(a);
    let mut bytes = Vec::new();
    assert_eq!(b.recv(&mut bytes).expect("a message"), Some(3));
    assert_eq!(b.recv(&mut bytes).expect("a message"), Some(3));
    assert_eq!(bytes, b"two");
    assert_eq!(b.recv(&mut bytes).expect("an end"), None);
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let (mut a, mut b) = pair("half-close", &options(Spin::Never, 4 << 10));
    a.end().expect("a session");
    let mut bytes = Vec::new();
    assert_eq!(b.recv(&mut bytes).expect("an end"), None);
    b.send(b"still").expect("somebody reads");
    assert_eq!(a.recv(&mut bytes).expect("a message"), Some(5));
}

/// A peer that is gone without an end: what it had published is received, then comes an error, however this side waits.
#[test]
fn a_peer_that_dies_is_an_error_behind_its_messages() {
    for spin in [Spin::Never, Spin::Adaptive, Spin::Always] {
        let place = Place::new(&format!("death-{spin:?}"));
        let options = options(spin, 4 << 10);
        let mut listener = Listener::bind(place.path(), &options).expect("a listener");
        let dying = thread::spawn({
            let path = place.path().clone();
            let session = Options { content: handshake::Content::Messages, ..options.session.clone() };
            // A session that is dropped says nothing of an end.
            move || drop(Session::new(handshake::connect(path, &session).expect("a session")))
        });
        let mut survivor = listener.accept().expect("a channel");
        dying.join().expect("no panic");
        for _ in 0..2 {
            match survivor.recv(&mut Vec::new()) {
                Err(ChannelError::Session(error)) => {
                    assert!(matches!(*error, SessionError::PeerGone), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
        let error = loop {
            if let Err(error) = survivor.send(&[0; 1000]) {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        // Also for one who never waits.
        while !matches!(survivor.try_recv(&mut Vec::new()), Err(ChannelError::Session(_))) {}
    }
}

/// One record, or several.
#[test]
fn a_message_that_is_too_long_ends_the_session_of_its_sender() {
    for longest in [100, 5000] {
        let place = Place::new(&format!("long-{longest}"));
        let mut receiving = options(Spin::Never, 4 << 10);
        receiving.longest = longest;
        let mut listener = Listener::bind(place.path(), &receiving).expect("a listener");
        let sender = thread::spawn({
            let path = place.path().clone();
            move || {
                let mut channel = Channel::connect(path, &options(Spin::Never, 4 << 10)).expect("a channel");
                channel.send(&vec![1; longest]).expect("room");
                loop {
                    if let Err(error) = channel.send(&vec![1; longest + 1]) {
                        return error;
                    }
                }
            }
        });
        let mut channel = listener.accept().expect("a channel");
        let too_long = channel.send(&vec![0; longest + 1]);
        assert!(matches!(too_long, Err(ChannelError::TooLong { len, longest: most }) if len == most + 1));
        let mut bytes = Vec::new();
        assert_eq!(channel.recv(&mut bytes).expect("a message"), Some(longest));
        match channel.recv(&mut bytes) {
            Err(ChannelError::Session(error)) => assert!(matches!(*error, SessionError::LongMessage)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(channel.recv(&mut bytes), Err(ChannelError::Session(_))), "it is latched");
        drop(channel);
        let error = sender.join().expect("no panic");
        assert!(matches!(error, ChannelError::Session(_)), "{error}");
    }
}

/// A side that sends messages and one that sends a stream do not take each other for the same.
#[test]
fn streams_and_messages_do_not_mix() {
    let options = options(Spin::Never, 4 << 10);
    let place = Place::new("mixed");
    let listener = UnixListener::bind(place.path()).expect("a listener");
    let connecting = thread::spawn({
        let (path, options) = (place.path().clone(), options.clone());
        move || Channel::connect(path, &options).map(|_| ())
    });
    let (socket, _) = listener.accept().expect("a client");
    let stream = handshake::accept(socket.into(), &options.session);
    assert!(matches!(stream, Err(HandshakeError::Refused(Refusal::Content))), "{stream:?}");
    let rejected = connecting.join().expect("no panic");
    assert!(matches!(rejected, Err(HandshakeError::Rejected(Refusal::Content))), "{rejected:?}");

    let place = Place::new("mixed-back");
    let mut listener = Listener::bind(place.path(), &options).expect("a listener");
    let connecting = thread::spawn({
        let (path, session) = (place.path().clone(), options.session.clone());
        move || handshake::connect(path, &session).map(|_| ())
    });
    assert!(matches!(listener.accept(), Err(HandshakeError::Rejected(Refusal::Content))));
    let refused = connecting.join().expect("no panic");
    assert!(matches!(refused, Err(HandshakeError::Refused(Refusal::Content))), "{refused:?}");
}
