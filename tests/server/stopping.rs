//! Stopping, at every moment and with every kind of peer.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use linkpoll::conn::CloseReason;
use linkpoll::net::{Accept, DialError, Stopper};
use linkpoll::reactor::{LoopOptions, Placement};
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{Client, PATIENCE, addresses, any_port, echo, until, within};
use crate::drivers::{Loops, Server, ServerBuilder};
use crate::recorder::{Recorder, Told};

const LONG: Duration = Duration::from_secs(3600);

/// Connections do not wait for their peers' ends.
fn hurried() -> ServerBuilder {
    let options = LoopOptions { linger_limit: Duration::from_millis(5), ..LoopOptions::default() };
    Server::builder().loops(2).options(options)
}

fn join(server: Server) {
    within(PATIENCE, "the server ends", || server.join()).expect("an orderly end");
}

/// A stop that comes right behind the start is not lost, on any number of loops (V-7).
#[test]
fn a_stop_right_after_the_start_is_not_lost() {
    for round in 0..100 {
        let accept = if round % 2 == 0 { Accept::EachLoop } else { Accept::OneLoop(Placement::RoundRobin) };
        let server =
            Server::builder().loops(1 + round % 3).accept(accept).bind(&any_port(), echo).expect("a server");
        server.stopper().stop();
        join(server);
    }
}

/// Stopping again does nothing, also when nothing is left to be stopped.
#[test]
fn stopping_twice_is_stopping_once() {
    let server = hurried().bind(&any_port(), echo).expect("a server");
    let mut client = Client::connect(server.address());
    assert!(client.echoes(b"there"));
    let stopper = server.stopper();
    stopper.stop();
    stopper.stop();
    join(server);
    stopper.stop();
    stopper.stop_now();
    assert!(client.is_closed());
}

/// A server that is dropped is stopped, and nobody listens any more.
#[test]
fn dropping_a_server_stops_it() {
    for address in addresses("dropped") {
        let server = hurried().bind(&address, echo).expect("a server");
        let mut client = Client::connect(server.address());
        assert!(client.echoes(b"there"));
        let bound = server.address().clone();
        within(PATIENCE, "dropping ends", move || drop(server));
        assert!(client.is_closed());
        assert!(
            std::panic::catch_unwind(|| Client::connect(&bound)).is_err(),
            "somebody still listens at {bound}"
        );
    }
}

/// Requests that have arrived before the stop are answered, and connections end in an orderly way.
#[test]
fn a_drain_loses_no_answer() {
    for address in addresses("drain") {
        let server = Server::builder().loops(2).bind(&address, echo).expect("a server");
        let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(server.address())).collect();
        for client in &mut clients {
            assert!(client.echoes(b"there"));
            client.request(&[3; 1000]);
        }
        let received = || server.usage().iter().map(|usage| usage.metrics.received.get()).sum::<u64>();
        until("the requests have arrived", || received() == 10 * (9 + 1004));
        server.stopper().stop();
        for client in &mut clients {
            assert_eq!(client.reply(), [3; 1000]);
            assert!(client.read_to_end().is_empty());
        }
        drop(clients);
        join(server);
    }
}

/// Much to be sent, and a peer that does not read it yet.
fn owes_much(told: &Told, io: &mut Io<'_>) -> Flow {
    match told {
        Told::Open => {
            io.output().write(&vec![4; OWED]).expect("memory");
            Flow::Continue
        }
        Told::Drain | Told::Eof => Flow::CloseWhenSent,
        _ => Flow::Continue,
    }
}

const OWED: usize = 16 << 20;

/// What is owed when the stop comes is sent to a peer that reads it.
#[test]
fn a_drain_sends_what_is_owed() {
    let (tell, told) = channel();
    let server =
        Server::builder().loops(1).bind(&any_port(), Recorder::maker(tell, owes_much)).expect("a server");
    let mut client = Client::connect(server.address());
    assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Open)));
    server.stopper().stop();
    assert!(client.read_to_end() == vec![4; OWED], "not all of it");
    drop(client);
    join(server);
    let why = told.try_iter().find_map(|told| if let Told::Closed(why) = told { Some(why) } else { None });
    assert!(matches!(why, Some(CloseReason::Stopped)), "{why:?}");
}

/// A peer that never reads delays a stop by the drain limit, and no longer.
#[test]
fn a_drain_ends_at_its_limit() {
    let (tell, told) = channel();
    let limit = Duration::from_millis(150);
    let options = LoopOptions { drain_limit: limit, ..LoopOptions::default() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(&any_port(), Recorder::maker(tell, owes_much)).expect("a server");
    let _client = Client::connect(server.address());
    assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Open)));
    let start = Instant::now();
    server.stopper().stop();
    join(server);
    assert!(start.elapsed() >= limit, "it did not wait for the peer");
    let why = told.try_iter().find_map(|told| if let Told::Closed(why) = told { Some(why) } else { None });
    assert!(matches!(why, Some(CloseReason::DrainExpired)), "{why:?}");
}

fn stays(_told: &Told, _io: &mut Io<'_>) -> Flow {
    Flow::Continue
}

/// A stop at once does not wait for handlers that would stay, nor for a drain that has begun.
#[test]
fn a_stop_at_once_does_not_wait() {
    for drained_first in [false, true] {
        let (tell, told) = channel();
        let options = LoopOptions { drain_limit: LONG, ..LoopOptions::default() };
        let builder = Server::builder().loops(2).options(options);
        let server = builder.bind(&any_port(), Recorder::maker(tell, stays)).expect("a server");
        let mut client = Client::connect(server.address());
        assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Open)));
        let stopper: Stopper = server.stopper();
        if drained_first {
            stopper.stop();
            assert!(matches!(told.recv_timeout(PATIENCE), Ok(Told::Drain)));
            assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "it stays");
        }
        stopper.stop_now();
        join(server);
        assert!(client.is_closed());
        let closed = told.try_iter().filter(|told| matches!(told, Told::Closed(_))).count();
        assert_eq!(closed, 1);
    }
}

/// Connections that come while a server stops are closed; none is left hanging.
#[test]
fn a_connection_during_a_stop_is_closed() {
    for _ in 0..20 {
        let server = hurried().bind(&any_port(), echo).expect("a server");
        let clients: Vec<Client> = (0..10).map(|_| Client::connect(server.address())).collect();
        server.stopper().stop();
        join(server);
        for mut client in clients {
            assert!(client.is_closed());
        }
    }
}

/// A stop that a handler gives, on the thread of the loop that is to stop, ends the server as any other, from whichever
/// call it comes.
#[test]
fn a_handler_may_stop_its_own_server() {
    type Stop = fn(&Stopper);
    let (gracefully, at_once): (Stop, Stop) = (Stopper::stop, Stopper::stop_now);
    for stop in [gracefully, at_once] {
        for on_open in [true, false] {
            let own: Arc<OnceLock<Stopper>> = Arc::default();
            let (tell, told) = channel();
            let maker = {
                let own = Arc::clone(&own);
                move |_: &Peer| Stopping { own: Arc::clone(&own), stop, on_open, tell: tell.clone() }
            };
            let server = hurried().bind(&any_port(), maker).expect("a server");
            own.set(server.stopper()).expect("it is set once");
            let mut client = Client::connect(server.address());
            client.write(b"stop");
            join(server);
            assert!(client.is_closed());
            let why = told.recv_timeout(PATIENCE).expect("the handler is told of its end");
            assert!(matches!(why, CloseReason::Stopped | CloseReason::DrainExpired), "{why}");
        }
    }
}

struct Stopping {
    own: Arc<OnceLock<Stopper>>,
    stop: fn(&Stopper),
    on_open: bool,
    tell: Sender<CloseReason>,
}

impl Handler for Stopping {
    fn open(&mut self, _io: &mut Io<'_>) -> Flow {
        if self.on_open {
            (self.stop)(self.own.wait());
        }
        Flow::Continue
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        if !self.on_open && io.input().len() >= 4 {
            (self.stop)(self.own.wait());
        }
        Flow::Continue
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        drop(self.tell.send(why));
    }
}

/// Loops that are dropped on the thread of one of them stop, and that thread does not wait for itself.
#[test]
fn loops_may_be_dropped_by_their_own_handler() {
    struct Owner(Receiver<Loops>, Sender<CloseReason>);
    impl Handler for Owner {
        fn data(&mut self, _io: &mut Io<'_>) -> Flow {
            Flow::Continue
        }
        fn woken(&mut self, _io: &mut Io<'_>) -> Flow {
            drop(self.0.recv().expect("the test sends them"));
            Flow::Continue
        }
        fn closed(self: Box<Self>, why: CloseReason) {
            drop(self.1.send(why));
        }
    }
    let loops = Loops::builder().loops(2).start().expect("loops");
    let ((give, given), (tell, told)) = (channel(), channel());
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let dialer = loops.dialer();
    let handle = dialer.adopt(ours, move |_: &Peer| Owner(given, tell)).expect("a socket");
    let handle = handle.wait().expect("it is taken in");
    give.send(loops).expect("the handler waits");
    handle.wake();
    drop(theirs);
    let why = told.recv_timeout(PATIENCE).expect("it is told of its end");
    assert!(matches!(why, CloseReason::Stopped | CloseReason::PeerEnded), "{why}");
    for _ in 0..2 {
        let error = dialer.dial([any_port()], |_: &Peer| Nobody).wait().expect_err("they stop");
        assert!(matches!(error, DialError::Stopped | DialError::Failed(_)), "{error}");
    }
}

struct Nobody;

impl Handler for Nobody {
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }
}
