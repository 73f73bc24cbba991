//! A peer that owns its ring, and keeps a call busy with what is no message.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::reactor::Spin;
use linkpoll::sync::Ordering;
use linkpoll_shm::channel::{Channel, ChannelError};
use linkpoll_shm::handshake::{self, Content, Established, Handshake, Progress, accept};
use linkpoll_shm::ring::Kind;
use linkpoll_shm::session::Session;
use linkpoll_shm::storage::{Mapped, OwnWord as _, Storage as _, Word};

use crate::bed::options;

const RING: u32 = 1 << 20;

fn ends() -> (Established, Established) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let options = handshake::Options {
        step: Duration::from_secs(60),
        content: Content::Messages,
        ring: RING,
        ..handshake::Options::default()
    };
    let theirs = options.clone();
    let server = thread::spawn(move || accept(other.into(), &theirs).expect("a session"));
    let mut client = Handshake::client(one.into(), &options, Instant::now()).expect("a client");
    let client = loop {
        match client.advance(Instant::now()) {
            Progress::Done(client) => break *client,
            Progress::NeedRead | Progress::NeedWrite => thread::yield_now(),
            other => panic!("{other:?}"),
        }
    };
    (client, server.join().expect("no panic"))
}

/// The victim sees a ring that is full of them, and a peer with a processor of its own could refill it as fast.
#[test]
fn records_without_end_do_not_keep_a_call_beyond_its_deadline() {
    for kind in [Kind::Part, Kind::Void] {
        let (victim, peer) = ends();
        let session = Session::new(victim).expect("a session");
        let mut victim = Channel::new(session, &options(Spin::Never, RING)).expect("a channel");
        let Established { own, peer, agreed, .. } = peer;
        let (ring, peer_ring) = (agreed.own.ring as usize, agreed.peer.ring as usize);
        let mut memory = Mapped::new((own, peer), ring, peer_ring).expect("rings");
        (0..ring).step_by(8).for_each(|at| memory.put_header(at, u64::from(kind as u32) << 32));
        // ORDERING: Release, partner the Acquire of the victim's consumer: the heads of the records were written before.
        memory.own(Word::Tail).store(RING, Ordering::Release);

        let mut message = Vec::new();
        let past = Instant::now();
        assert!(matches!(victim.recv_until(&mut message, past), Err(ChannelError::TimedOut)));
        let taken = victim.counters().records_received;
        assert!(taken < 1000, "{taken} records behind the deadline");
        assert!(matches!(victim.try_recv(&mut message), Err(ChannelError::WouldBlock)));
        let taken = victim.counters().records_received;
        assert!(taken < 10_000, "{taken} records by calls that do not wait");
    }
}
