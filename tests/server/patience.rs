//! Deadlines on the real clock: none comes too early, and each comes. What must not be late is tested on a played
//! clock, in `tests/turns`.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::Segment;
use linkpoll::conn::CloseReason;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{Client, PATIENCE, any_port, until};
use crate::drivers::Server;
use crate::recorder::{Recorder, Told, usual};

const SHORT: Duration = Duration::from_millis(80);

fn options() -> LoopOptions {
    LoopOptions { read_limit: None, write_limit: None, ..LoopOptions::default() }
}

fn closed(told: &Receiver<Told>) -> CloseReason {
    told.iter()
        .find_map(|it| if let Told::Closed(why) = it { Some(why) } else { None })
        .expect("it is closed")
}

/// A connection without traffic is closed, not before its limit.
#[test]
fn an_idle_connection_is_closed() {
    let (tell, told) = channel();
    let options = LoopOptions { idle_limit: Some(SHORT), ..options() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(&any_port(), Recorder::maker(tell, usual)).expect("a server");
    let begun = Instant::now();
    let mut idle = Client::connect(server.address());
    assert!(idle.is_closed());
    assert!(begun.elapsed() >= SHORT, "closed too early");
    assert!(matches!(closed(&told), CloseReason::IdleExpired));
    assert_eq!(server.usage()[0].metrics.closed_by.idle_expired.get(), 1);
}

/// Half a header and silence ends at the read limit; a message in time does not, and silence between messages neither.
#[test]
fn a_message_that_does_not_become_whole_ends_its_connection() {
    let options = LoopOptions { read_limit: Some(SHORT), ..options() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(&any_port(), crate::client::echo).expect("a server");
    let mut patient = Client::connect(server.address());
    assert!(patient.echoes(b"before"));
    let mut half = Client::connect(server.address());
    half.write(&[0, 0]);
    let mut slow = Client::connect(server.address());
    slow.write(&[0, 0, 0, 200]);
    let begun = Instant::now();
    let dripping = thread::spawn(move || {
        // A byte now and then does not make the message whole.
        while slow.stream.write_all(&[1]).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "dripping keeps a connection");
            thread::sleep(SHORT / 8);
        }
    });
    assert!(half.is_closed());
    dripping.join().expect("it is closed");
    let metrics = &server.usage()[0].metrics;
    until("both are counted", || metrics.closed_by.read_expired.get() == 2);
    assert!(patient.echoes(b"after"), "silence between messages is no fault");
}

/// A peer that takes nothing of what it is owed is closed, while it is open and while it is being flushed.
#[test]
fn a_peer_that_takes_nothing_is_closed() {
    for flow in [|| Flow::Continue, || Flow::CloseWhenSent] {
        let options = LoopOptions { write_limit: Some(SHORT), ..options() };
        let answer = move |_: &Peer| {
            let flow: fn() -> Flow = flow;
            Owing(flow)
        };
        let server = Server::builder().loops(1).options(options).bind(&any_port(), answer).expect("a server");
        let mut client = Client::connect(server.address());
        client.write(b"all of it");
        let metrics = &server.usage()[0].metrics;
        until("its patience ends", || metrics.closed_by.write_expired.get() == 1);
    }
}

/// Writes more than any socket takes.
struct Owing(fn() -> Flow);

impl Handler for Owing {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        io.input().skip(n).expect("as many are there");
        io.output().append(Segment::from(vec![7; 32 << 20])).expect("no memory is needed");
        (self.0)()
    }
}

/// At the most connections the next one waits in the backlog until one is closed.
#[test]
fn at_the_most_connections_the_next_one_waits() {
    let options = LoopOptions { max_connections: 2, ..options() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(&any_port(), crate::client::echo).expect("a server");
    let metrics = &server.usage()[0].metrics;
    for round in 0..3 {
        let mut both = [Client::connect(server.address()), Client::connect(server.address())];
        assert!(both.iter_mut().all(|client| client.echoes(b"served")));
        let mut third = Client::connect(server.address());
        third.request(b"waits");
        thread::sleep(SHORT / 4);
        assert_eq!(metrics.connections(), 2, "round {round}");
        drop(both);
        assert_eq!(third.reply(), b"waits");
        drop(third);
        until("all are gone", || metrics.connections() == 0);
    }
    assert_eq!(metrics.refused.get(), 0);
}
