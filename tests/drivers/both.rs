//! What is particular to two drivers in one loop. That they are a driver, the conformance suite shows.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket};
use linkpoll::driver::{Both, BothSocket, Driver as _, Event, Key, Side, Token};
use linkpoll::net::Address;
use linkpoll::reactor::{LoopOptions, Maker, Reactor};
use linkpoll::service::{Flow, Handler, Io, Peer};

type TwoEpolls = Both<Epoll, Epoll>;

const PATIENCE: Duration = Duration::from_secs(30);

fn epoll() -> Epoll {
    Epoll::new(EpollOptions::default()).expect("an epoll instance")
}

fn both() -> TwoEpolls {
    Both::new(epoll(), epoll(), Side::by_family).expect("both can be watched")
}

/// A connection on a side, and the other end of it.
fn connect(driver: &mut TwoEpolls, key: Key, side: Side) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    theirs.set_nonblocking(true).expect("an option of sockets");
    let peer = Box::new(Address::Unix(PathBuf::new()));
    let socket = Socket { fd: OwnedFd::from(theirs), peer };
    let socket = match side {
        Side::First => BothSocket::First(socket),
        Side::Second => BothSocket::Second(socket),
    };
    driver.attach(key, socket).expect("it can be attached");
    ours
}

fn drain(driver: &mut TwoEpolls) {
    while driver.next().is_some() {}
}

/// A look costs what two looks cost; a sleep costs one call more, and one for the look at the side that woke it.
#[test]
fn a_look_costs_what_the_two_cost_and_a_sleep_one_call_more() {
    let mut driver = both();
    let mut peer = connect(&mut driver, Key::new(0, 1), Side::Second);
    let calls = driver.system_calls();
    let look = Some(Duration::ZERO);
    driver.wait(look).expect("it can wait");
    drain(&mut driver);
    let begun = calls.snapshot();
    for _ in 0..100 {
        driver.wait(look).expect("it can wait");
        drain(&mut driver);
    }
    assert_eq!(calls.snapshot().since(&begun).total(), 200);

    // Nothing happens: two looks, and the sleep.
    let begun = calls.snapshot();
    driver.wait(Some(Duration::from_millis(5))).expect("it can wait");
    drain(&mut driver);
    assert_eq!(calls.snapshot().since(&begun).total(), 3);

    // Work is there: no sleep, and no call for it.
    peer.write_all(b"work").expect("there is room");
    let begun = calls.snapshot();
    driver.wait(None).expect("it can wait");
    drain(&mut driver);
    let now = calls.snapshot().since(&begun);
    assert_eq!((now.wait, now.receive, now.total()), (2, 1, 3));

    // Work comes during the sleep: the side that has it is looked at once more.
    let begun = calls.snapshot();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        peer.write_all(b"work").expect("there is room");
        peer
    });
    driver.wait(None).expect("it can wait");
    drain(&mut driver);
    let now = calls.snapshot().since(&begun);
    assert!(now.wait <= 4 && now.receive == 1, "{now}");
    drop(writer.join().expect("the peer writes"));
}

/// While both have events, they are told in turn.
#[test]
fn events_of_both_are_told_in_turn() {
    let mut driver = both();
    let peers: Vec<_> = (0..20)
        .map(|slot| {
            let side = if slot < 10 { Side::First } else { Side::Second };
            let mut peer = connect(&mut driver, Key::new(slot, 1), side);
            peer.write_all(b"bytes").expect("there is room");
            peer
        })
        .collect();
    driver.wait(Some(Duration::ZERO)).expect("it can wait");
    let told: Vec<Side> = std::iter::from_fn(|| driver.next())
        .map(|event| match event {
            Event::Received(key, _) if key.slot() < 10 => Side::First,
            Event::Received(..) => Side::Second,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told.len(), 20);
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
    drop(peers);
}

/// A slot may be used by one side after the other, and what is said to its former user does nothing to the new one.
#[test]
fn a_slot_goes_from_side_to_side() {
    let mut driver = both();
    let mut generation = 0;
    for side in [Side::First, Side::Second, Side::First, Side::Second] {
        generation += 1;
        let (old, key) = (Key::new(7, generation), Key::new(7, generation + 1));
        generation += 1;
        let _gone = connect(&mut driver, old, side.other());
        if generation % 4 == 0 {
            assert!(driver.detach(old).is_some());
        } else {
            driver.close(old);
        }
        let limit = Instant::now() + PATIENCE;
        let mut closed = generation % 4 == 0;
        while !closed {
            assert!(Instant::now() < limit, "the close is not told");
            driver.wait(Some(Duration::ZERO)).expect("it can wait");
            closed = std::iter::from_fn(|| driver.next()).any(|event| matches!(event, Event::Closed(_)));
        }
        let mut peer = connect(&mut driver, key, side);
        driver.close(old);
        driver.shutdown(old);
        driver.receive(old, false);
        assert!(driver.detach(old).is_none());
        driver.send(old, linkpoll::buffer::Segment::copy_of(b"stale").into(), Some(Token(1)));
        driver.send(key, linkpoll::buffer::Segment::copy_of(b"fresh").into(), None);
        let mut bytes = [0; 5];
        peer.read_exact(&mut bytes).expect("it is connected");
        assert_eq!(&bytes, b"fresh");
        driver.wait(Some(Duration::ZERO)).expect("it can wait");
        let told: Vec<_> = std::iter::from_fn(|| driver.next()).collect();
        assert!(told.iter().any(|event| matches!(event, Event::Released(Token(1), _))), "{told:?}");
        driver.close(key);
        driver.wait(Some(Duration::ZERO)).expect("it can wait");
        drain(&mut driver);
    }
}

/// Memory in use is the memory of both.
#[test]
fn memory_of_both_is_in_use() {
    let mut driver = both();
    let idle = driver.usage();
    let held: Vec<_> = [Side::First, Side::Second]
        .into_iter()
        .zip(0..)
        .map(|(side, slot)| {
            let mut peer = connect(&mut driver, Key::new(slot, 1), side);
            peer.write_all(b"bytes").expect("there is room");
            driver.wait(Some(Duration::ZERO)).expect("it can wait");
            let events: Vec<_> = std::iter::from_fn(|| driver.next()).collect();
            (peer, events)
        })
        .collect();
    let busy = driver.usage();
    let (first, second) = (driver.first().usage(), driver.second().usage());
    for usage in [first, second] {
        assert!(usage.mapped > usage.free, "a block of each is in use");
    }
    assert_eq!(busy.mapped - busy.free, first.mapped - first.free + second.mapped - second.free);
    assert_eq!(idle.limit, 2 << 30);
    drop(held);
}

struct Echo;

impl Handler for Echo {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let (input, output) = io.split();
        match output.append_chain(std::mem::take(input)) {
            Ok(()) => Flow::Continue,
            Err(error) => error.into(),
        }
    }
}

/// One loop listens at a port with one driver and at a path with the other, and sleeps for both.
#[test]
fn one_loop_serves_both() {
    const CLIENTS: u64 = 4;
    let maker: Maker = Box::new(|_: &Peer| Box::new(Echo));
    let mut reactor = Reactor::new(both(), LoopOptions::default(), Default::default(), maker);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let path = std::env::temp_dir().join(format!("lp-both-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let tcp = reactor.listen(&Address::Tcp(free), false).expect("a port");
    reactor.listen(&Address::Unix(path.clone()), false).expect("a path");
    let metrics = reactor.handle().metrics;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (tcp, path) = (tcp.clone(), path.clone());
            thread::spawn(move || {
                let mut stream: TcpStream = match tcp {
                    Address::Tcp(at) if number % 2 == 0 => TcpStream::connect(at).expect("it listens"),
                    _ => OwnedFd::from(UnixStream::connect(path).expect("it listens")).into(),
                };
                for round in 0..200_u8 {
                    let mut bytes = [round; 300];
                    stream.write_all(&bytes).expect("it is connected");
                    bytes = [!round; 300];
                    stream.read_exact(&mut bytes).expect("it is connected");
                    assert_eq!(bytes, [round; 300]);
                }
            })
        })
        .collect();
    while metrics.snapshot().closed < CLIENTS {
        reactor.turn().expect("the drivers wait");
    }
    for client in clients {
        client.join().expect("it is served");
    }
    let now = metrics.snapshot();
    assert_eq!((now.opened, now.received, now.sent), (CLIENTS, CLIENTS * 60_000, CLIENTS * 60_000));
    drop(std::fs::remove_file(path));
}
