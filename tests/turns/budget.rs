//! The memory budget: who is held for it, and what is let go.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use linkpoll::buffer::Chain;
use linkpoll::net::Address;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Frame, Framed, Io};

use crate::bench::{Bench, Other};
use crate::playing::{Call, Playing, consume};

const LIMIT: usize = 4 << 20;

fn bench() -> Bench {
    let limits =
        LoopOptions { memory_limit: LIMIT, read_limit: None, write_limit: None, ..LoopOptions::default() };
    Bench::new(limits)
}

/// A handler that gives everything it reads away.
fn gives_away(bench: &Bench, to: Sender<Chain>) -> Playing {
    bench.notes.play("giver", move |call, io: &mut Io<'_>| {
        if call == Call::Data {
            drop(to.send(std::mem::take(io.input())));
        }
        Flow::Continue
    })
}

/// Offers so many bytes, as far as they are taken.
fn offer(bench: &mut Bench, other: &mut Other, mut bytes: usize) -> usize {
    let part = vec![1; 64 << 10];
    let mut taken = 0;
    for _ in 0..400 {
        match other.0.write(&part[..part.len().min(bytes)]) {
            Ok(n) => {
                bytes -= n;
                taken += n;
            }
            Err(_) => drop(bench.settle()),
        }
        if bytes == 0 {
            break;
        }
    }
    bench.settle();
    taken
}

fn listening(bench: &mut Bench) -> std::net::SocketAddr {
    let any_port = Address::Tcp(([127, 0, 0, 1], 0).into());
    match bench.reactor.listen(&any_port, false).expect("a port") {
        Address::Tcp(address) => address,
        Address::Unix(_) => panic!("not what was asked for"),
    }
}

/// When the application keeps all the memory, and no connection has any unread, nobody is accepted; and as soon as
/// another thread gives the memory back, the loop is woken and accepts, though no connection was closed.
#[test]
fn a_listener_that_rests_for_memory_goes_on_when_it_comes_back() {
    let mut bench = bench();
    let address = listening(&mut bench);
    let (tell, kept) = channel();
    let giver = gives_away(&bench, tell);
    let mut other = bench.connect(giver);
    offer(&mut bench, &mut other, LIMIT + (1 << 20));
    assert!(bench.metrics.pool.in_use.get() > LIMIT as u64, "the application keeps it");
    let next = bench.notes.goes_on("next");
    bench.will_serve(next);
    let _stream = TcpStream::connect(address).expect("the backlog has room");
    bench.settle();
    assert_eq!(bench.metrics.connections(), 1, "nobody is accepted");
    assert_eq!(bench.clock.sleep(), None, "and the loop sleeps");
    let rings = bench.clock.rings();
    std::thread::scope(|scope| {
        scope.spawn(move || kept.try_iter().for_each(drop));
    });
    bench.settle();
    assert!(bench.clock.rings() > rings, "a sleep would not have ended");
    assert_eq!(bench.metrics.connections(), 2, "the next is accepted");
}

/// A connection that is held for memory, congested and paused at once is received from again only when all three are
/// over, and nothing is lost.
#[test]
fn memory_congestion_and_pause_at_once_lose_nothing() {
    let mut bench = bench();
    let (tell, told) = channel();
    let mut seen = 0;
    let hoarder = bench.notes.play("hoarder", move |call, io| {
        io.want(16 << 20);
        match call {
            Call::Open => tell.send(Some(io.handle())).expect("the test listens"),
            // It lets go of what it has read only when it is woken.
            Call::Woken | Call::Eof => {
                seen += consume(io);
                if call == Call::Eof {
                    tell.send(None).expect("the test listens");
                    assert_eq!(seen, 12 << 20);
                    return Flow::CloseWhenSent;
                }
            }
            _ => {}
        }
        Flow::Continue
    });
    let mut other = bench.connect(hoarder);
    let handle = told.recv().expect("it was opened").expect("with its handle");
    let mut taken = offer(&mut bench, &mut other, 12 << 20);
    assert!(taken < 12 << 20 && bench.metrics.memory_holds.get() == 1, "it is held");
    drop(handle.send(linkpoll::buffer::Segment::from(vec![2; 4 << 20]).into()));
    handle.pause();
    bench.settle();
    // One after another they end.
    other.read_all(&mut bench);
    assert_eq!(offer(&mut bench, &mut other, 1), 0, "it is held and paused");
    handle.resume();
    bench.settle();
    assert_eq!(offer(&mut bench, &mut other, 1), 0, "it is held");
    while taken < 12 << 20 {
        handle.wake();
        bench.settle();
        taken += offer(&mut bench, &mut other, (12 << 20) - taken);
    }
    other.end();
    bench.settle();
    assert!(told.try_recv().is_ok_and(|it| it.is_none()), "the end is told behind all bytes");
    assert_eq!(bench.metrics.panics.get(), 0);
}

/// What a connection has not read is let go when it closes, not when everything is sent at last.
#[test]
fn unread_bytes_are_let_go_when_a_connection_begins_to_close() {
    let mut bench = bench();
    let handler = bench.notes.play("it", |call, io| {
        io.want(1 << 20);
        if call == Call::Data && io.input().len() >= 3 << 20 {
            io.output()
                .append(linkpoll::buffer::Segment::from(vec![3; 8 << 20]))
                .expect("no memory is needed");
            return Flow::CloseWhenSent;
        }
        Flow::Continue
    });
    let mut other = bench.connect(handler);
    offer(&mut bench, &mut other, 3 << 20);
    bench.settle();
    assert_eq!(bench.metrics.connections(), 1, "much is to be sent");
    // The driver may still have a block for what was wanted.
    assert!(bench.metrics.pool.in_use.get() <= 1 << 20, "{} bytes in use", bench.metrics.pool.in_use.get());
}

/// Answers each message with its length.
fn measures() -> impl linkpoll::service::Handler + Send {
    Framed::new(Frame::default(), |request, reply| Ok(reply.write(&request.len().to_be_bytes())?))
}

/// Sends a message whole, and waits for its answer.
fn is_measured(bench: &mut Bench, other: &mut Other, bytes: usize) -> bool {
    let length = u32::try_from(bytes).expect("a length of four bytes");
    other.write(&length.to_be_bytes());
    let taken = offer(bench, other, bytes);
    taken == bytes && other.read().0 == [&8_u32.to_be_bytes()[..], &bytes.to_be_bytes()].concat()
}

/// Peers that stop in the middle of large messages use up the budget, and no more; others are still served, and
/// the memory is free again when the peers' time is over.
#[test]
fn peers_that_stop_in_the_middle_do_not_use_up_the_memory() {
    const MESSAGE: usize = 8 << 20;
    const BUDGET: usize = 24 << 20;
    const PEERS: usize = 16;
    let limit = Duration::from_secs(10);
    let mut bench = Bench::new(LoopOptions {
        memory_limit: BUDGET,
        read_limit: Some(limit),
        linger_limit: limit,
        ..LoopOptions::default()
    });
    let mut other = bench.connect(measures());
    assert!(is_measured(&mut bench, &mut other, 6));
    let mut stalled: Vec<_> = (0..PEERS).map(|_| bench.connect(measures())).collect();
    for peer in &mut stalled {
        peer.write(&u32::try_from(MESSAGE).expect("a length of four bytes").to_be_bytes());
    }
    // Each offers all but the last bytes of its message, in parts, until the loop takes nothing of anybody's.
    let mut rest = [MESSAGE - 1000; PEERS];
    let (mut most, part) = (0, vec![1; 64 << 10]);
    loop {
        let before = rest;
        for (peer, rest) in stalled.iter_mut().zip(&mut rest) {
            *rest -= peer.0.write(&part[..part.len().min(*rest)]).unwrap_or(0);
        }
        bench.settle();
        most = most.max(bench.metrics.pool.in_use.get());
        assert!(is_measured(&mut bench, &mut other, 9), "one with nothing unread is not held");
        if rest == before {
            break;
        }
    }
    assert!(bench.metrics.memory_holds.get() > 0, "nothing was held: {most}");
    // Each may receive its share of a few turns before it is held.
    assert!(most <= (BUDGET + PEERS * 4 * (256 << 10)) as u64, "{most} bytes in use");
    bench.pass(limit);
    assert_eq!(bench.metrics.closed_by.read_expired.get(), PEERS as u64, "the stalled are closed");
    let mut late = bench.connect(measures());
    assert!(is_measured(&mut bench, &mut late, MESSAGE));
}
