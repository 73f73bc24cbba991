//! Deadlines: what a connection may take its time for, and what not.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::Segment;
use linkpoll::conn::CloseReason;
use linkpoll::net::Server;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Frame, Framed, Handler, Io, Peer};

use crate::client::{Client, any_port, until};
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

/// A connection without traffic is closed, not before its limit; one with traffic is not.
#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (tell, told) = channel();
    let options = LoopOptions { idle_limit: Some(SHORT), ..options() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(&any_port(), Recorder::maker(tell, usual)).expect("a server");
    let begun = Instant::now();
    let mut idle = Client::connect(server.address());
    let mut busy = Client::connect(server.address());
    let writer = thread::spawn(move || {
        while begun.elapsed() < 5 * SHORT {
            busy.write(b"tick");
            thread::sleep(SHORT / 8);
        }
        busy
    });
    assert!(idle.is_closed());
    assert!(begun.elapsed() >= SHORT, "closed too early");
    assert!(matches!(closed(&told), CloseReason::IdleExpired));
    let busy = writer.join().expect("it is never closed while it writes");
    let metrics = &server.usage()[0].metrics;
    assert_eq!(metrics.closed_by.idle_expired.get(), 1);
    until("the other is idle too", || metrics.connections() == 0);
    drop(busy);
}

/// Work under way elsewhere is not idleness.
#[test]
fn a_connection_with_work_under_way_is_not_idle() {
    struct Working;
    impl Handler for Working {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            let n = io.input().len();
            io.input().skip(n).expect("as many are there");
            io.set_busy(true);
            let handle = io.handle();
            thread::spawn(move || {
                thread::sleep(4 * SHORT);
                handle.wake();
            });
            Flow::Continue
        }

        fn woken(&mut self, io: &mut Io<'_>) -> Flow {
            io.set_busy(false);
            io.output().write(b"done").expect("memory");
            Flow::CloseWhenSent
        }
    }
    let options = LoopOptions { idle_limit: Some(SHORT), ..options() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder.bind(&any_port(), |_: &Peer| Working).expect("a server");
    let mut client = Client::connect(server.address());
    client.write(b"work");
    assert_eq!(client.read_to_end(), b"done");
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
        while slow.stream.write_all(&[1]).is_ok() && begun.elapsed() < 10 * SHORT {
            thread::sleep(SHORT / 8);
        }
        begun.elapsed()
    });
    assert!(half.is_closed());
    assert!(dripping.join().expect("no panic") < 5 * SHORT, "dripping keeps a connection");
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

/// A peer that takes some now and then is slow, not gone.
#[test]
fn a_slow_peer_is_given_time() {
    let options = LoopOptions { write_limit: Some(3 * SHORT), ..options() };
    let server = Server::builder()
        .loops(1)
        .options(options)
        .bind(&any_port(), |_: &Peer| Owing(|| Flow::CloseWhenSent))
        .expect("a server");
    let mut client = Client::connect(server.address());
    client.write(b"slowly");
    let (mut taken, mut buffer) = (0, vec![0; 4 << 20]);
    loop {
        match std::io::Read::read(&mut client.stream, &mut buffer).expect("it goes on") {
            0 => break,
            n => taken += n,
        }
        thread::sleep(SHORT / 4);
    }
    assert_eq!(taken, 32 << 20);
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

/// Peers that stop in the middle of large messages use up the budget, and no more; others are still served, and
/// the memory is free again when the peers' time is over.
#[test]
fn peers_that_stop_in_the_middle_do_not_use_up_the_memory() {
    const MESSAGE: u32 = 8 << 20;
    const BUDGET: usize = 24 << 20;
    let options =
        LoopOptions { memory_limit: BUDGET, read_limit: Some(10 * SHORT), linger_limit: SHORT, ..options() };
    let builder = Server::builder().loops(1).options(options);
    let server = builder
        .bind(&any_port(), |_: &Peer| {
            Framed::new(Frame::default(), |request, reply| Ok(reply.write(&request.len().to_be_bytes())?))
        })
        .expect("a server");
    let metrics = &server.usage()[0].metrics;
    let mut other = Client::connect(server.address());
    other.request(b"before");
    assert_eq!(other.reply(), 6_usize.to_be_bytes());
    let stalled: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Client::connect(server.address());
            client.stream.set_nonblocking(true).expect("an option of sockets");
            drop(client.stream.write_all(&MESSAGE.to_be_bytes()));
            client
        })
        .collect();
    let mut most = 0;
    let begun = Instant::now();
    let part = vec![1; 64 << 10];
    // Each offers all but the last bytes of its message.
    let mut offered = vec![0; stalled.len()];
    while begun.elapsed() < 6 * SHORT {
        for (client, offered) in stalled.iter().zip(&mut offered) {
            let rest = (MESSAGE as usize - 1000 - *offered).min(part.len());
            *offered += (&client.stream).write(&part[..rest]).unwrap_or(0);
        }
        most = most.max(metrics.pool.in_use.get());
        if metrics.memory_holds.get() == 0 {
            other.request(b"meanwhile");
            assert_eq!(other.reply(), 9_usize.to_be_bytes());
        }
    }
    assert!(metrics.memory_holds.get() > 0, "nothing was held: {most}");
    // Each may receive its share of a few turns before it is held.
    assert!(most <= (BUDGET + 16 * 4 * (256 << 10)) as u64, "{most} bytes in use");
    other.request(b"meanwhile");
    assert_eq!(other.reply(), 9_usize.to_be_bytes(), "one with nothing unread is not held");
    until("the stalled are closed", || metrics.closed_by.read_expired.get() == 16);
    let mut late = Client::connect(server.address());
    late.request(&vec![1; MESSAGE as usize]);
    assert_eq!(late.reply(), (MESSAGE as usize).to_be_bytes());
}
