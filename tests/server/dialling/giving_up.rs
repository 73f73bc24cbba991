//! Dials that come to nothing: their time is over, nobody waits for them, or their loop stops.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::conn::CloseReason;
use linkpoll::net::{Address, DialError, DialOptions};
use linkpoll::service::{Client, ClientOptions, Frame};
use linkpoll::stream;
use linkpoll_conformance::isolated;

use super::{Heard, caller, closed, echoes, loops, mute, refusing, silent};
use crate::client::{PATIENCE, any_port, echo, until, within};
use crate::drivers::Server;

/// A dial that nobody answers ends when its time is over, and its loop does other things meanwhile.
#[test]
fn a_dial_ends_when_its_time_is_over() {
    let own = loops(1);
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let ((_kept, refusing), (_listener, silent, _waiting)) = (refusing(), silent());
    let timeout = Some(Duration::from_millis(200));
    let dialer = own.dialer().options(DialOptions { timeout, ..DialOptions::default() });
    let start = Instant::now();
    let slow = dialer.dial([refusing, silent, server.address().clone()], mute);
    let (make, heard) = caller();
    let handle = own.dialer().dial([server.address().clone()], make).wait().expect("somebody listens");
    assert!(echoes(&handle, &heard, b"meanwhile"));
    let error = slow.wait().expect_err("nobody answers");
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(matches!(&error, DialError::TimedOut(before) if before.len() == 1), "{error:?}");
    assert!(echoes(&handle, &heard, b"afterwards"));
}

/// A wait that is over does not end the dial; the same answer can be waited for again.
#[test]
fn a_wait_for_a_dial_can_be_repeated() {
    let own = loops(1);
    let (listener, silent, waiting) = silent();
    let mut dialling = own.dialer().dial([silent], mute);
    assert!(dialling.wait_until(Instant::now() + Duration::from_millis(20)).is_none());
    own.stopper().stop();
    assert!(matches!(dialling.wait(), Err(DialError::Stopped)));
    drop((listener, waiting));
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("the descriptors of this process").count()
}

/// A dial that is given up is ended, however far it has come, and leaves no descriptor.
#[test]
fn a_dial_that_is_given_up_leaves_nothing() {
    isolated(module_path!(), "a_dial_that_is_given_up_leaves_nothing", || {
        let own = loops(1);
        let (listener, silent, waiting) = silent();
        let before = descriptors();
        let dials: Vec<_> = (0..20).map(|_| own.dialer().dial([silent.clone()], mute)).collect();
        until("they are under way", || descriptors() == before + 20);
        drop(dials);
        until("they are gone", || descriptors() == before);
        drop((listener, waiting));

        // Given up before, while and after they are established.
        let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
        let before = descriptors();
        for round in 0..200_u32 {
            let (make, heard) = caller();
            let dialling = own.dialer().dial([server.address().clone()], make);
            if round % 4 > 0 {
                thread::sleep(Duration::from_micros(u64::from(round % 40 * 10)));
            }
            drop(dialling);
            if let Ok(heard) = heard.recv_timeout(PATIENCE) {
                assert!(matches!(heard, Heard::Closed(CloseReason::Aborted(_))), "{heard:?}");
            }
        }
        until("nothing is left", || descriptors() == before);
        assert!(matches!(own.dialer().dial([], mute).wait(), Err(DialError::NoAddress)), "the loop is there");
        assert_eq!(own.usage()[0].metrics.connections(), 0);
    });
}

/// Streams and clients on their way are futures: one that is dropped, polled or not, however far its connection has
/// come, leaves nothing.
#[test]
fn a_future_that_is_cancelled_leaves_nothing() {
    /// Polls so many times, or until it is there. Drops it, or what has come of it.
    fn cancel(mut future: impl Future + Unpin, polls: u32) {
        let mut context = Context::from_waker(Waker::noop());
        let _there = (0..polls).any(|_| Pin::new(&mut future).poll(&mut context).is_ready());
    }
    isolated(module_path!(), "a_future_that_is_cancelled_leaves_nothing", || {
        let own = loops(1);
        let stream =
            |address: &Address| own.dialer().dial_stream([address.clone()], stream::Options::default());
        let client = |address: &Address| {
            Client::dial(&own.dialer(), [address.clone()], Frame::default(), ClientOptions::default())
        };
        // Nobody answers.
        let (listener, silent, waiting) = silent();
        let before = descriptors();
        let (mut streams, mut clients): (Vec<_>, Vec<_>) =
            (0..10).map(|_| (stream(&silent), client(&silent))).unzip();
        until("they are under way", || descriptors() == before + 20);
        let mut context = Context::from_waker(Waker::noop());
        streams.iter_mut().for_each(|it| assert!(Pin::new(it).poll(&mut context).is_pending()));
        clients.iter_mut().for_each(|it| assert!(Pin::new(it).poll(&mut context).is_pending()));
        drop((streams, clients));
        until("they are gone", || descriptors() == before);
        drop((listener, waiting));
        // Before, while and after they are established.
        let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
        let before = descriptors();
        for round in 0..200_u32 {
            let polls = round % 5;
            let time = Duration::from_micros(u64::from(round % 40 * 10));
            if round % 2 == 0 {
                let future = stream(server.address());
                thread::sleep(time);
                cancel(future, polls);
            } else {
                let future = client(server.address());
                thread::sleep(time);
                cancel(future, polls);
            }
        }
        until("nothing is left", || descriptors() == before);
        until("the loop has none", || own.usage()[0].metrics.connections() == 0);
        assert!(matches!(own.dialer().dial([], mute).wait(), Err(DialError::NoAddress)), "the loop is there");
    });
}

/// A dial whose time is over just when it is answered ends in exactly one way, and leaves nothing.
#[test]
fn an_answer_at_the_last_moment_is_an_answer_or_none() {
    isolated(module_path!(), "an_answer_at_the_last_moment_is_an_answer_or_none", || {
        let own = loops(1);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::Tcp(listener.local_addr().expect("an address"));
        thread::spawn(move || listener.incoming().for_each(drop));
        let before = descriptors();
        let mut outcomes = [0, 0];
        for round in 0..300 {
            let timeout = Some(Duration::from_micros(round * 4));
            let dialer = own.dialer().options(DialOptions { timeout, ..DialOptions::default() });
            let (make, heard) = caller();
            match dialer.dial([address.clone()], make).wait() {
                Ok(_handle) => {
                    outcomes[0] += 1;
                    // The listener closes at once, and may reset.
                    let why = closed(&heard);
                    assert!(matches!(why, CloseReason::PeerEnded | CloseReason::Broken(_)), "{why}");
                }
                Err(DialError::TimedOut(_)) => {
                    outcomes[1] += 1;
                    assert!(heard.recv_timeout(PATIENCE).is_err(), "no handler was made");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(outcomes[0] + outcomes[1], 300);
        until("nothing is left", || descriptors() == before);
    });
}

/// Loops that stop end their dials, and take no more.
#[test]
fn loops_that_stop_end_their_dials() {
    for now in [false, true] {
        let own = loops(2);
        let (_listener, silent, _waiting) = silent();
        let dialer = own.dialer();
        let dials: Vec<_> = (0..4).map(|_| dialer.dial([silent.clone()], mute)).collect();
        if now {
            own.stopper().stop_now();
        } else {
            own.stopper().stop();
        }
        within(PATIENCE, "the loops end", || own.join()).expect("an orderly end");
        for dial in dials {
            assert!(matches!(dial.wait(), Err(DialError::Stopped)));
        }
        assert!(matches!(dialer.dial([silent.clone()], mute).wait(), Err(DialError::Stopped)));
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(matches!(dialer.adopt(one, mute).expect("a socket").wait(), Err(DialError::Stopped)));
    }
}
