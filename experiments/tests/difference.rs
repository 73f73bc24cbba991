//! The same traffic through every driver: the same bytes, and the same events in the same order for each connection.
//!
//! A script is played step by step, and each step is waited for, so that what a driver tells does not depend on time.
//! Neighbouring `Received` count as one, since pieces may be cut anywhere, and `Sent` is counted, since bytes may be
//! taken at once.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket, Trigger};
use linkpoll::driver::{Driver as _, Event, Key, Token};
use linkpoll::net::Address;
use linkpoll_experiments::{AnyDriver, DriverOptions, Transport};

const CONNECTIONS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// One step of a script.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The peer writes so many bytes.
    Write(usize, usize),
    /// So many bytes are sent in pieces, with a token, and the peer reads them.
    Send(usize, usize),
    Pause(usize),
    Resume(usize),
    Want(usize, usize),
    /// The peer ends its direction.
    End(usize),
    Shutdown(usize),
    Close(usize),
    /// The connection changes its key.
    Move(usize),
}

/// What a driver has told of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Received(Vec<u8>),
    Eof,
    Error,
    Closed,
}

/// A small generator (SplitMix64): a seed is a script.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

fn script(seed: u64, sizes: &[usize]) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = Vec::new();
    for _ in 0..40 {
        let who = random.below(CONNECTIONS);
        let size = sizes[random.below(sizes.len())];
        steps.push(match random.below(20) {
            0..7 => Step::Write(who, size),
            7..12 => Step::Send(who, size),
            12 | 13 => Step::Pause(who),
            14 | 15 => Step::Resume(who),
            16 => Step::Want(who, size),
            17 => Step::Move(who),
            18 if random.below(3) == 0 => Step::End(who),
            18 => Step::Shutdown(who),
            _ if random.below(4) == 0 => Step::Close(who),
            _ => Step::Write(who, size),
        });
    }
    steps
}

struct Connection {
    key: Key,
    peer: TcpStream,
    told: Vec<Told>,
    given: usize,
    sent: usize,
    written: usize,
    received: usize,
    paused: bool,
    ended: bool,
    shut: bool,
    gone: bool,
}

fn find(connections: &mut [Connection], key: Key) -> &mut Connection {
    connections.iter_mut().find(|connection| connection.key == key).expect("a key of this play")
}

struct Play {
    driver: AnyDriver,
    connections: Vec<Connection>,
    released: u64,
    tokens: u64,
}

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + seed) % 251).to_le_bytes()[0]).collect()
}

impl Play {
    fn new(mut driver: AnyDriver, unix: bool) -> Self {
        let connections = (0..CONNECTIONS).map(|slot| {
            let (peer, fd, address) = if unix {
                let (ours, theirs) = UnixStream::pair().unwrap();
                (OwnedFd::from(theirs), OwnedFd::from(ours), Address::Unix(PathBuf::new()))
            } else {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (ours, address) = listener.accept().unwrap();
                (OwnedFd::from(theirs), OwnedFd::from(ours), Address::Tcp(address))
            };
            let peer = TcpStream::from(peer);
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.set_write_timeout(Some(PATIENCE)).unwrap();
            let socket = TcpStream::from(fd);
            socket.set_nonblocking(true).unwrap();
            let key = Key::new(u32::try_from(slot).unwrap(), 1);
            driver.attach(key, Socket { fd: OwnedFd::from(socket), peer: Box::new(address) }).unwrap();
            Connection {
                key,
                peer,
                told: Vec::new(),
                given: 0,
                sent: 0,
                written: 0,
                received: 0,
                paused: false,
                ended: false,
                shut: false,
                gone: false,
            }
        });
        let connections = connections.collect();
        Self { driver, connections, released: 0, tokens: 0 }
    }

    fn turn(&mut self) {
        self.driver.wait(Some(Duration::from_millis(5))).expect("the driver can wait");
        while let Some(event) = self.driver.next() {
            let connections = &mut self.connections;
            match event {
                Event::Received(key, segment) => {
                    let connection = find(connections, key);
                    connection.received += segment.len();
                    match connection.told.last_mut() {
                        Some(Told::Received(bytes)) => bytes.extend_from_slice(&segment),
                        _ => connection.told.push(Told::Received(segment.to_vec())),
                    }
                }
                Event::Sent(key, n) => find(connections, key).sent += n,
                Event::Eof(key) => find(connections, key).told.push(Told::Eof),
                Event::Error(key, _) => find(connections, key).told.push(Told::Error),
                Event::Closed(key) => find(connections, key).told.push(Told::Closed),
                Event::Released(Token(_), _) => self.released += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < limit, "given up: {what}");
            self.turn();
        }
    }

    /// What is to come with nobody pausing has come.
    fn settle(&mut self, who: usize) {
        self.until("everything has arrived", |play| {
            let it = &play.connections[who];
            it.gone || it.paused || (it.received == it.written && (!it.ended || it.told.contains(&Told::Eof)))
        });
    }

    fn step(&mut self, step: Step) {
        let (Step::Write(who, _)
        | Step::Send(who, _)
        | Step::Pause(who)
        | Step::Resume(who)
        | Step::Want(who, _)
        | Step::End(who)
        | Step::Shutdown(who)
        | Step::Close(who)
        | Step::Move(who)) = step;
        let it = &mut self.connections[who];
        if it.gone {
            return;
        }
        let key = it.key;
        match step {
            Step::Write(_, len) if !it.ended && !it.paused => {
                // More than the system takes at once needs a reader at the same time.
                let (mut peer, chunk) = (it.peer.try_clone().unwrap(), bytes(it.written, len));
                it.written += len;
                let writer = std::thread::spawn(move || peer.write_all(&chunk).unwrap());
                self.settle(who);
                writer.join().unwrap();
            }
            // While nobody reads, no more than surely fits.
            Step::Write(_, len) if !it.ended => {
                let len = len.min(1000);
                it.peer.write_all(&bytes(it.written, len)).unwrap();
                it.written += len;
            }
            Step::Send(_, len) if !it.shut => {
                let whole = bytes(it.given, len);
                it.given += len;
                let mut chain = Chain::new();
                for (number, piece) in whole.chunks(len.div_ceil(3)).enumerate() {
                    // Memory of the driver's may be lent, where there is some; other memory is copied.
                    let tail =
                        if number % 2 == 0 { self.driver.alloc_send(key, piece.len()).ok() } else { None };
                    chain.push(tail.map_or_else(
                        || Segment::copy_of(piece),
                        |mut tail| {
                            tail.spare()[..piece.len()].copy_from_slice(piece);
                            tail.commit(piece.len())
                        },
                    ));
                }
                let mut peer = it.peer.try_clone().unwrap();
                let reader = std::thread::spawn(move || {
                    let mut read = vec![0; len];
                    peer.read_exact(&mut read).unwrap();
                    read
                });
                self.tokens += 1;
                let taken = self.driver.send(key, chain, Some(Token(self.tokens)));
                self.connections[who].sent += taken;
                self.until("all is sent", |play| {
                    let it = &play.connections[who];
                    it.sent == it.given && play.released == play.tokens
                });
                assert!(reader.join().unwrap() == whole, "other bytes, or another order");
            }
            Step::Pause(_) => {
                it.paused = true;
                self.driver.receive(key, false);
                self.turn();
            }
            Step::Resume(_) => {
                it.paused = false;
                self.driver.receive(key, true);
                self.settle(who);
            }
            Step::Want(_, len) => self.driver.want(key, len),
            Step::End(_) if !it.ended => {
                it.ended = true;
                it.peer.shutdown(Shutdown::Write).unwrap();
                self.settle(who);
            }
            Step::Shutdown(_) if !it.shut => {
                it.shut = true;
                self.driver.shutdown(key);
                self.turn();
                assert_eq!(self.connections[who].peer.read(&mut [0]).unwrap(), 0);
            }
            Step::Close(_) => {
                self.driver.close(key);
                self.until("the close", |play| play.connections[who].told.contains(&Told::Closed));
                self.connections[who].gone = true;
            }
            Step::Move(_) => {
                let detached = self.driver.detach(key).expect("it is there");
                assert!(detached.unsent.is_empty(), "everything was sent");
                let it = &mut self.connections[who];
                let early: Vec<u8> = detached.received.segments().flat_map(|s| s.to_vec()).collect();
                it.received += early.len();
                if !early.is_empty() {
                    match it.told.last_mut() {
                        Some(Told::Received(bytes)) => bytes.extend_from_slice(&early),
                        _ => it.told.push(Told::Received(early)),
                    }
                }
                it.key = Key::new(key.slot(), key.generation() + 1);
                // The end is told again to a new user.
                it.told.retain(|told| *told != Told::Eof);
                let (new, paused, shut) = (it.key, it.paused, it.shut);
                self.turn();
                self.driver.attach(new, detached.socket).unwrap();
                if shut {
                    self.driver.shutdown(new);
                }
                if paused {
                    self.driver.receive(new, false);
                }
                self.settle(who);
            }
            _ => {}
        }
    }

    fn run(mut self, script: &[Step]) -> Vec<Vec<Told>> {
        for step in script {
            self.step(*step);
        }
        for who in 0..CONNECTIONS {
            self.step(Step::Resume(who));
            self.step(Step::Close(who));
        }
        self.connections.into_iter().map(|connection| connection.told).collect()
    }
}

/// One way to set a driver up.
struct Way {
    name: String,
    make: Box<dyn Fn() -> AnyDriver>,
}

impl Way {
    fn new(name: impl Into<String>, make: impl Fn() -> io::Result<AnyDriver> + 'static) -> Self {
        let make = move || make().expect("the transport works here");
        Self { name: name.into(), make: Box::new(make) }
    }
}

/// Every transport as it is, epoll first.
fn usual() -> Vec<Way> {
    let way = |transport: &'static Transport| {
        Way::new(transport.name(), || transport.driver(&DriverOptions::default()))
    };
    Transport::ALL.iter().map(way).collect()
}

/// Every transport with so little of everything that the rare paths are taken.
fn tiny() -> Vec<Way> {
    let mut ways = vec![Way::new("epoll", || Transport::Epoll.driver(&DriverOptions::default()))];
    for trigger in [Trigger::Level, Trigger::Edge] {
        let options = EpollOptions { trigger, memory: 256 << 10, receive_budget: 1 };
        let name = |name: &str| format!("{name}, {trigger:?}, one byte a turn, no memory");
        ways.push(Way::new(name("epoll"), move || Epoll::new(options).map(AnyDriver::Epoll)));
        #[cfg(feature = "batch")]
        {
            use linkpoll_experiments::batch::driver;
            let uring = move || driver(options, 2).map(AnyDriver::BatchUring);
            ways.push(Way::new(name("batch-uring of 2"), uring));
            ways.push(Way::new(name("batch-aio of 2"), move || driver(options, 2).map(AnyDriver::BatchAio)));
        }
        #[cfg(feature = "zerocopy")]
        {
            use linkpoll_experiments::zerocopy::{ZerocopyOptions, driver};
            let lending =
                ZerocopyOptions { least: 1, packets: 1, heed_every: 1, ..ZerocopyOptions::default() };
            let make = move || driver(options, lending).map(AnyDriver::Zerocopy);
            ways.push(Way::new(name("zerocopy from a byte on"), make));
        }
    }
    #[cfg(feature = "uring")]
    for memory in [256 << 10, 4 << 20] {
        use linkpoll_experiments::uring::{Uring, UringOptions};
        let options = UringOptions {
            memory,
            submissions: 1,
            completions: 2,
            buffers: 1,
            buffer_size: 4096,
            lend_from: Some(1),
            fill_from: Some(1),
            ..UringOptions::default()
        };
        let name = format!("uring with two completions, one buffer, {memory} bytes");
        ways.push(Way::new(name, move || Uring::new(options).map(AnyDriver::Uring)));
    }
    ways
}

/// Plays scripts on all of these, and compares with the first.
fn compare(ways: &[Way], seeds: u64, sizes: &[usize]) {
    for seed in 0..seeds {
        let script = script(seed, sizes);
        for unix in [false, true] {
            let mut plays = ways.iter().map(|way| (&way.name, Play::new((way.make)(), unix).run(&script)));
            let (_, first) = plays.next().expect("there is epoll");
            for (name, told) in plays {
                for (who, (other, first)) in told.iter().zip(&first).enumerate() {
                    let brief = |told: &[Told]| {
                        let brief = |told: &Told| match told {
                            Told::Received(bytes) => format!("{} bytes", bytes.len()),
                            other => format!("{other:?}"),
                        };
                        told.iter().map(brief).collect::<Vec<_>>()
                    };
                    assert!(
                        other == first,
                        "{name}, seed {seed}, unix {unix}, connection {who}: {:?}, and epoll: {:?}\n{script:?}",
                        brief(other),
                        brief(first),
                    );
                }
            }
        }
    }
}

#[test]
fn every_driver_tells_the_same() {
    compare(&usual(), 25, &[1, 100, 1028, 4096, 20_000, 65_537, 200_000]);
}

#[test]
fn drivers_that_have_next_to_nothing_tell_the_same() {
    compare(&tiny(), 12, &[1, 2, 100, 1028, 4097]);
}

/// Large messages, which may come in blocks of their own, and sends that may be lent.
#[test]
fn large_messages_are_told_the_same() {
    compare(&usual(), 6, &[65_537, 200_000, 300_000, 1_500_000]);
}
