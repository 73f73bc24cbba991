//! Lending against a kernel that is played: whatever it answers, and in whatever order it gives back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::OwnedFd;

use linkpoll::driver::epoll::Epoll;
use linkpoll_experiments::zerocopy::Zerocopy;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::played::{Kind, Line, Played};
use super::*;

const LEAST: usize = 4 << 10;
const WAITS: Duration = Duration::from_secs(2);

/// Something that the driver's user, the peer, or the kernel does to one of the connections.
#[derive(Clone, Debug)]
enum Step {
    /// Sends pieces of so many bytes; the lowest bits say that one is not of the pool's memory, or is kept.
    Send {
        pieces: Vec<(u32, u8)>,
        token: bool,
    },
    Room(u32),
    GiveBack {
        from: u8,
        width: u8,
        merge: bool,
        copied: bool,
    },
    Stray(u16, i8),
    Refuse(u8),
    Break,
    End,
    Pause(bool),
    Close,
    Detach,
    /// What was kept is let go.
    LetGo,
    Time(u16),
    Turn,
    /// A batch is fetched, and bytes are sent before it is looked at.
    TurnBehindSend(u32),
}

fn steps() -> impl Strategy<Value = Vec<(u8, Step)>> {
    let size = prop_oneof![1..100_u32, 4090..4100_u32, 4096..40_000_u32, 100_000..300_000_u32];
    let pieces = prop::collection::vec((size.clone(), any::<u8>()), 1..5);
    let step = prop_oneof![
        8 => (pieces, any::<bool>()).prop_map(|(pieces, token)| Step::Send { pieces, token }),
        6 => (1..400_000_u32).prop_map(Step::Room),
        8 => (any::<u8>(), 0..9_u8, any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(from, width, merge, copied)| Step::GiveBack { from, width, merge, copied }),
        1 => any::<(u16, i8)>().prop_map(|(distance, width)| Step::Stray(distance, width)),
        1 => (1..5_u8).prop_map(Step::Refuse),
        1 => prop_oneof![Just(Step::Break), Just(Step::End), Just(Step::Close), Just(Step::Detach)],
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::LetGo),
        1 => (0..900_u16).prop_map(Step::Time),
        6 => Just(Step::Turn),
        2 => size.prop_map(Step::TurnBehindSend),
    ];
    prop::collection::vec((any::<u8>(), step), 1..70)
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        6 => Just(Kind::Lends),
        1 => Just(Kind::Refuses),
        1 => Just(Kind::RefusesTheFlag),
        1 => Just(Kind::Foreign),
    ];
    prop::collection::vec(kind, 1..4)
}

#[derive(Debug, Default)]
struct Connection {
    given: usize,
    sent: usize,
    /// Closed, or detached, at this time.
    left: Option<std::time::Instant>,
    detached: Option<OwnedFd>,
    failed: bool,
    ended: bool,
    closed: bool,
}

struct World {
    driver: Epoll<Played, Zerocopy>,
    connections: Vec<Connection>,
    tokens: BTreeMap<u64, (usize, Range<usize>)>,
    kept: Vec<Segment>,
    /// Of any connection, its bytes are told by these.
    next_token: u64,
}

type Verdict = Result<(), TestCaseError>;

impl World {
    fn new(first: u32, kinds: &[Kind]) -> Self {
        let options = ZerocopyOptions { least: LEAST, packets: 2, heed_every: 3, patience: WAITS };
        let mut kernel = Played::new(first);
        let fds: Vec<OwnedFd> = kinds.iter().map(|kind| kernel.open(*kind)).collect();
        let mut driver =
            Epoll::with_path(kernel, Zerocopy::new(options), EpollOptions::default()).expect("an eventfd");
        let mut connections = Vec::new();
        for (at, fd) in fds.into_iter().enumerate() {
            let socket = Socket { fd, peer: Box::new(Address::Unix(Default::default())) };
            driver.attach(key(at), socket).expect("it can be watched");
            connections.push(Connection::default());
        }
        Self { driver, connections, tokens: BTreeMap::new(), kept: Vec::new(), next_token: 0 }
    }

    fn step(&mut self, at: usize, step: &Step) -> Verdict {
        let line = |world: &mut Self, act: &dyn Fn(&mut Line)| {
            act(&mut world.driver.kernel().lines[at]);
            world.driver.kernel().lines[at].wakes();
        };
        match step {
            Step::Send { pieces, token } => self.send(at, pieces, *token)?,
            Step::Room(n) => line(self, &|line| line.room += *n as usize),
            Step::GiveBack { from, width, merge, copied } => {
                let line = &mut self.driver.kernel().lines[at];
                if !line.is_gone() {
                    let sound = line.give_back((*from).into(), (*width).into(), *merge, *copied);
                    prop_assert!(sound, "lent memory has changed");
                }
            }
            Step::Stray(distance, width) => line(self, &|line| line.stray(*distance, *width)),
            Step::Refuse(n) => line(self, &|line| line.refuse += usize::from(*n)),
            Step::Break => line(self, &|line| line.broken = true),
            Step::End => line(self, &|line| line.ended = true),
            Step::Pause(on) => self.driver.receive(key(at), !*on),
            Step::Close => self.close(at),
            Step::Detach => {
                let now = self.driver.kernel().now;
                let connection = &mut self.connections[at];
                if let Some(detached) = self.driver.detach(key(at)) {
                    connection.left = Some(now);
                    connection.detached = Some(detached.socket.fd);
                }
            }
            Step::LetGo => self.kept.clear(),
            Step::Time(milliseconds) => {
                self.driver.kernel().passes(Duration::from_millis((*milliseconds).into()));
            }
            Step::Turn => self.turn(None)?,
            Step::TurnBehindSend(size) => self.turn(Some((at, *size)))?,
        }
        Ok(())
    }

    fn close(&mut self, at: usize) {
        let now = self.driver.kernel().now;
        self.connections[at].left.get_or_insert(now);
        self.driver.close(key(at));
    }

    fn send(&mut self, at: usize, pieces: &[(u32, u8)], token: bool) -> Verdict {
        if self.connections[at].left.is_some() || self.connections[at].failed {
            return Ok(());
        }
        let from = self.connections[at].given;
        let mut chain = Chain::new();
        let mut given = from;
        for (size, bits) in pieces {
            let bytes = pattern(given, *size as usize);
            given += bytes.len();
            let segment = if bits & 1 == 1 && bits & 2 == 2 {
                Segment::from(bytes)
            } else {
                let mut tail = self.driver.alloc_send(key(at), bytes.len()).expect("the pool has a block");
                tail.spare()[..bytes.len()].copy_from_slice(&bytes);
                tail.commit(bytes.len())
            };
            if bits & 12 == 12 {
                self.kept.push(segment.clone());
            }
            chain.push(segment);
        }
        self.connections[at].given = given;
        let token = token.then(|| {
            self.next_token += 1;
            self.tokens.insert(self.next_token, (at, from..given));
            Token(self.next_token)
        });
        let taken = self.driver.send(key(at), chain, token);
        self.connections[at].sent += taken;
        self.told()
    }

    fn turn(&mut self, between: Option<(usize, u32)>) -> Verdict {
        self.driver.wait(Some(Duration::ZERO)).expect("it can wait");
        if let Some((at, size)) = between {
            self.send(at, &[(size, 0)], false)?;
        }
        while let Some(event) = self.driver.next() {
            match event {
                Event::Sent(key, n) => self.connections[key.slot() as usize].sent += n,
                Event::Released(token, _) => self.released(token.0)?,
                Event::Eof(key) => {
                    let connection = &mut self.connections[key.slot() as usize];
                    prop_assert!(!std::mem::replace(&mut connection.ended, true), "the end is told twice");
                }
                Event::Error(key, error) => {
                    let at = key.slot() as usize;
                    let broken = self.driver.kernel().lines[at].broken;
                    prop_assert!(broken, "a connection that is whole ends: {error}");
                    self.connections[at].failed = true;
                }
                Event::Closed(key) => self.connections[key.slot() as usize].closed = true,
                other => prop_assert!(false, "{other:?}"),
            }
        }
        self.told()
    }

    /// What is told to be sent is what the kernel has.
    fn told(&mut self) -> Verdict {
        for at in 0..self.connections.len() {
            let Connection { left, failed, sent, .. } = self.connections[at];
            if left.is_none() && !failed {
                let has = self.driver.kernel().lines[at].stream.len();
                // The rest is told by events that are due.
                prop_assert!(sent <= has, "{sent} bytes told of {has}");
            }
        }
        Ok(())
    }

    fn released(&mut self, token: u64) -> Verdict {
        let Some((at, bytes)) = self.tokens.remove(&token) else {
            return Err(TestCaseError::fail("a token is released twice"));
        };
        let Connection { left, ref detached, .. } = self.connections[at];
        let now = self.driver.kernel().now;
        let given_up = detached.is_some() || left.is_some_and(|left| now >= left + WAITS);
        let lent = &self.driver.kernel().lines[at].lent;
        let overlaps = lent.iter().any(|lent| lent.at.start < bytes.end && bytes.start < lent.at.end);
        prop_assert!(given_up || !overlaps, "released while it is lent");
        Ok(())
    }

    /// Everything goes out, or was given up; everything comes back, or is exchanged.
    fn finish(mut self, gives_back: bool) -> Verdict {
        for line in &mut self.driver.kernel().lines {
            line.room = usize::MAX / 2;
            line.refuse = 0;
            line.wakes();
        }
        for _ in 0..3 {
            self.turn(None)?;
        }
        for at in 0..self.connections.len() {
            let Connection { given, sent, left, failed, .. } = self.connections[at];
            let line = &mut self.driver.kernel().lines[at];
            prop_assert!(line.stream == pattern(0, line.stream.len()), "other bytes, or another order");
            if left.is_none() && !failed && !line.broken {
                prop_assert_eq!((line.stream.len(), sent), (given, given), "not everything is sent");
            }
            while gives_back && !line.lent.is_empty() && !line.is_gone() {
                prop_assert!(line.give_back(0, 3, true, false), "lent memory has changed");
            }
        }
        self.turn(None)?;
        (0..self.connections.len()).for_each(|at| self.close(at));
        self.turn(None)?;
        self.driver.kernel().passes(WAITS);
        self.turn(None)?;
        self.kept.clear();
        self.turn(None)?;
        prop_assert!(self.tokens.is_empty(), "never released: {:?}", self.tokens);
        let stats = self.driver.path().stats();
        prop_assert_eq!((stats.lent_now(), stats.quarantined_now()), (0, 0), "{:?}", stats);
        prop_assert_eq!(stats.strays.get(), self.driver.kernel().strays);
        let usage = self.driver.pool().usage();
        // But for the block that the driver receives into, where it has received.
        let used = usage.mapped - usage.free;
        prop_assert!([0, 64 << 10].contains(&used), "blocks are in use: {usage:?}");
        for (at, connection) in self.connections.iter().enumerate() {
            let closed = connection.detached.is_some() || connection.closed;
            prop_assert!(closed, "{at} is not told to be closed");
            // A process that another test has just forked has a copy until it executes its program.
            let limit = std::time::Instant::now() + PATIENCE;
            while connection.detached.is_none() && !self.driver.kernel().lines[at].is_gone() {
                prop_assert!(std::time::Instant::now() < limit, "the descriptor of {at} is still open");
                std::thread::yield_now();
            }
        }
        // Whoever still looks at the pages sees the old bytes.
        let pool = self.driver.pool().clone();
        let mut blocks = Vec::new();
        for size in [4, 16, 64, 256].map(|kib| kib << 10) {
            for _ in 0..40 {
                let mut tail = pool.allocate(size).expect("the pool has blocks");
                tail.spare().fill(b'!');
                blocks.push(tail);
            }
        }
        for line in &mut self.driver.kernel().lines {
            for lent in &mut line.lent {
                prop_assert!(lent.shows(&line.stream), "memory that was given up has changed");
            }
        }
        Ok(())
    }
}

fn key(at: usize) -> Key {
    Key::new(u32::try_from(at).expect("few"), 1)
}

fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_lending.txt");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever the kernel answers, and in whatever order it gives back: bytes go out in order, memory that is lent does not
    /// change, no token is released before its memory is free, a connection ends only when it is broken, and in the end
    /// nothing is lent, kept or open.
    #[test]
    fn every_order_of_notifications_keeps_the_promises(
        first in prop_oneof![Just(0), (u32::MAX - 20)..=u32::MAX],
        kinds in kinds(),
        steps in steps(),
        gives_back in any::<bool>(),
    ) {
        let mut world = World::new(first, &kinds);
        for (at, step) in &steps {
            world.step(usize::from(*at) % kinds.len(), step)?;
        }
        world.finish(gives_back)?;
    }
}
