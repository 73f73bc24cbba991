//! Large replies: written into shared memory by the handler, and lent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::{Driver, Event, Key, Lending, Token};
use linkpoll::reactor::Spin;
use linkpoll_shm::handshake::ask_statistics;
use linkpoll_shm::{ShmDriver, ShmOptions};

use crate::bed::Path;
use crate::calling::exchange_with;

fn statistics(path: &Path) -> HashMap<String, u64> {
    let text = ask_statistics(path.as_path(), DEADLINE).expect("an answer");
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[test]
fn large_replies_are_written_into_shared_memory_and_lent() {
    for spin in [Spin::Never, Spin::Adaptive] {
        let sizes: Vec<usize> =
            (0..60).map(|n| [100_000, 5000, 64 << 10, 300_000, 1 << 20, 17][n % 6]).collect();
        exchange_with(&format!("lent-{spin:?}"), spin, &sizes, 3, |path| {
            let found = statistics(path);
            let count = |name: &str| found.get(name).copied().unwrap_or_default();
            assert!(count("bytes_lent") > 1_000_000, "{found:?}");
            assert!(count("loans_received") > 0, "{found:?}");
            assert!((1..=8).contains(&count("arenas")), "{found:?}");
        });
    }
}

/// Two drivers of one thread, with a connection between them.
struct Two {
    drivers: [ShmDriver; 2],
    keys: [Key; 2],
    received: [Chain; 2],
    released: Vec<(Token, Lending)>,
    ended: [bool; 2],
}

const DEADLINE: Duration = Duration::from_secs(60);

impl Two {
    fn new(path: &Path) -> Self {
        Self::with(path, ShmOptions::default())
    }

    /// Where the second driver has these options.
    fn with(path: &Path, second: ShmOptions) -> Self {
        let new = |options| ShmDriver::new(options).expect("a driver");
        let mut drivers = [new(ShmOptions::default()), new(second)];
        let (listener, accepted, dialled) = (Key::new(0, 0), Key::new(1, 0), Key::new(0, 0));
        drivers[0].listen(listener, &path.address(), false).expect("a listener");
        drivers[1].connect(dialled, &path.address(), None).expect("a connection");
        let (mut is_accepted, mut is_connected) = (false, false);
        let deadline = Instant::now() + DEADLINE;
        while !is_accepted || !is_connected {
            assert!(Instant::now() < deadline, "no connection");
            for driver in &mut drivers {
                driver.wait(Some(Duration::ZERO)).expect("a wait");
            }
            while let Some(event) = drivers[0].next() {
                if let Event::Incoming(_, socket) = event {
                    drivers[0].attach(accepted, socket).expect("a session");
                    is_accepted = true;
                }
            }
            while let Some(event) = drivers[1].next() {
                is_connected |= matches!(event, Event::Connected(_));
            }
        }
        let keys = [accepted, dialled];
        Self { drivers, keys, received: Default::default(), released: Vec::new(), ended: [false; 2] }
    }

    /// Turns of both, until the condition holds.
    fn until(&mut self, what: &str, mut is_met: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_met(self) {
            assert!(Instant::now() < deadline, "{what}");
            for side in 0..2 {
                self.turn(side);
            }
        }
    }

    fn turn(&mut self, side: usize) {
        let driver = &mut self.drivers[side];
        driver.wait(Some(Duration::ZERO)).expect("a wait");
        while let Some(event) = driver.next() {
            match event {
                Event::Received(_, segment) => self.received[side].push(segment),
                Event::Released(token, lending) => self.released.push((token, lending)),
                Event::Eof(_) => self.ended[side] = true,
                Event::Error(_, error) => assert!(self.ended[side], "{error}"),
                _ => {}
            }
        }
    }

    fn lent(&self, side: usize) -> u64 {
        self.drivers[side].statistics().traffic.bytes_lent
    }

    /// A segment of so many bytes in memory that the first driver prefers.
    fn preferred(&mut self, len: usize) -> Segment {
        let mut tail = self.drivers[0].alloc_send(self.keys[0], len).expect("memory");
        tail.spare()[..len].fill(7);
        tail.commit(len)
    }

    fn has_arena(&mut self) {
        assert_eq!(
            self.preferred(5000).block().origin().name,
            "pool",
            "there is no arena before it is needed"
        );
        self.until("no arena", |two| two.preferred(5000).block().origin().name == "shm arena");
    }
}

#[test]
fn memory_of_the_drivers_is_lent_where_it_is_and_released_when_it_has_come_back() {
    let path = Path::new("reference");
    let mut two = Two::new(&path);
    two.has_arena();
    let before = two.lent(0);
    let segment = two.preferred(200_000);
    assert_eq!(segment.block().origin().name, "shm arena");
    let mut chain = Chain::new();
    chain.push(segment);
    let key = two.keys[0];
    assert_eq!(two.drivers[0].send(key, chain, Some(Token(1))), 200_000, "all of it is taken at once");
    assert_eq!(two.lent(0) - before, 200_000, "without a copy");
    two.turn(0);
    assert_eq!(two.released, [], "the peer has not read it");
    two.until("nothing is released", |two| !two.released.is_empty());
    assert_eq!(two.released, [(Token(1), Lending::Lent)]);
    assert_eq!(two.received[1].len(), 200_000);
    assert!(two.received[1].segments().all(|segment| segment.iter().all(|byte| *byte == 7)));
    let mut chain = Chain::new();
    chain.push(Segment::copy_of(&[7; 100_000]));
    assert_eq!(two.drivers[0].send(key, chain, Some(Token(2))), 100_000);
    two.turn(0);
    assert_eq!(two.released.pop(), Some((Token(2), Lending::Copied)), "a copy is free at once");
}

#[test]
fn a_sleeper_whose_memory_comes_back_is_woken() {
    let path = Path::new("sleeper");
    let mut two = Two::new(&path);
    two.has_arena();
    let mut chain = Chain::new();
    chain.push(two.preferred(50_000));
    let key = two.keys[0];
    assert_eq!(two.drivers[0].send(key, chain, Some(Token(1))), 50_000);
    while two.drivers[0].arm() == Some(Duration::ZERO) {
        two.turn(0);
    }
    // The first driver sleeps; only the second has turns.
    let deadline = Instant::now() + DEADLINE;
    while two.received[1].len() < 50_000 {
        assert!(Instant::now() < deadline, "nothing arrives");
        two.turn(1);
    }
    two.drivers[0].wait(Some(DEADLINE)).expect("a wait");
    two.turn(0);
    two.until("nothing is released", |two| !two.released.is_empty());
}

/// What a send has taken back is told before the driver sleeps: nobody rings for it any more.
#[test]
fn memory_that_comes_back_while_we_send_is_released_before_we_sleep() {
    let path = Path::new("sending");
    let mut two = Two::new(&path);
    two.has_arena();
    let mut chain = Chain::new();
    chain.push(two.preferred(50_000));
    let key = two.keys[0];
    assert_eq!(two.drivers[0].send(key, chain, Some(Token(1))), 50_000);
    let deadline = Instant::now() + DEADLINE;
    while two.received[1].len() < 50_000 {
        assert!(Instant::now() < deadline, "nothing arrives");
        two.turn(1);
    }
    let mut chain = Chain::new();
    chain.push(Segment::copy_of(&[7; 3000]));
    assert_eq!(two.drivers[0].send(key, chain, None), 3000);
    while two.drivers[0].arm() == Some(Duration::ZERO) {
        two.turn(0);
    }
    assert_eq!(two.released, [(Token(1), Lending::Lent)]);
}

#[test]
fn who_has_received_a_part_of_a_loan_may_move() {
    let path = Path::new("moving");
    let mut two = Two::with(&path, ShmOptions { receive_budget: 1000, ..ShmOptions::default() });
    two.has_arena();
    let mut chain = Chain::new();
    chain.push(two.preferred(50_000));
    let keys = two.keys;
    assert_eq!(two.drivers[0].send(keys[0], chain, Some(Token(1))), 50_000);
    for _ in 0..3 {
        let before = two.received[1].len();
        two.until("nothing arrives", |two| two.received[1].len() > before);
        let detached = two.drivers[1].detach(keys[1]).expect("a session");
        two.received[1].append(detached.received);
        assert!(two.received[1].len() < 50_000);
        two.turn(0);
        assert_eq!(two.released, [], "it is not received to its end");
        two.drivers[1].attach(keys[1], detached.socket).expect("a session");
    }
    two.until("nothing is released", |two| !two.released.is_empty());
    assert_eq!(two.received[1].len(), 50_000);
    assert!(two.received[1].segments().all(|segment| segment.iter().all(|byte| *byte == 7)));
}

#[test]
fn what_is_lent_is_released_at_the_latest_with_the_connection() {
    for detaches in [false, true] {
        let path = Path::new(if detaches { "detached" } else { "closed" });
        let mut two = Two::new(&path);
        two.has_arena();
        let mut chain = Chain::new();
        chain.push(two.preferred(50_000));
        let key = two.keys[0];
        assert_eq!(two.drivers[0].send(key, chain, Some(Token(1))), 50_000);
        if detaches {
            let detached = two.drivers[0].detach(key).expect("a session");
            assert!(detached.unsent.is_empty());
            two.turn(0);
            assert_eq!(two.released, [(Token(1), Lending::Lent)]);
            two.drivers[0].attach(key, detached.socket).expect("a session");
            two.until("nothing arrives", |two| two.received[1].len() == 50_000);
            assert_eq!(
                two.preferred(5000).block().origin().name,
                "shm arena",
                "the arena goes with its session"
            );
        } else {
            two.drivers[0].close(key);
            two.until("no end", |two| two.ended[1]);
            assert_eq!(two.released, [(Token(1), Lending::Lent)]);
            assert_eq!(two.received[1].len(), 50_000, "what was lent before the end is received");
        }
    }
}
