//! One driver under audit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::{Driver, Event, Key, Token};
use linkpoll::net::Address;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};

use crate::{Bed, Dialling, Family};

/// What a driver has told of one connection.
#[derive(Debug, Default)]
pub struct Log {
    /// The bytes that have arrived.
    pub received: Vec<u8>,
    /// The segments they came in, where a case wants to keep them.
    pub segments: Vec<Segment>,
    /// Bytes given to `send`, and bytes told to be sent.
    pub given: u64,
    /// See `given`.
    pub sent: u64,
    /// The peer has ended its direction.
    pub ended: bool,
    /// The connection is established, for one that was to be.
    pub connected: bool,
    /// The connection is broken.
    pub error: Option<io::Error>,
    /// The driver was told to close, in this batch.
    closing: Option<u64>,
    /// The connection is gone.
    pub closed: bool,
    connecting: bool,
    /// Receiving was switched off in this batch.
    paused: Option<u64>,
}

/// Whether a descriptor becomes readable within this time.
fn readable_within(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let mut watched = [PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(time.as_millis().max(1)).expect("a short time");
    poll(&mut watched, timeout).expect("a descriptor can be watched") > 0
}

/// A driver, and what it has told so far.
///
/// Each event is audited: what the contract forbids at any time fails the case, whatever the case is about.
#[expect(missing_debug_implementations, reason = "not every driver's sockets can be shown")]
pub struct Rig<'a, B: Bed> {
    bed: &'a B,
    /// The driver.
    pub driver: B::Driver,
    logs: BTreeMap<Key, Log>,
    /// Tokens not released.
    pub tokens: BTreeSet<u64>,
    /// Sockets that listeners have accepted.
    pub incoming: VecDeque<<B::Driver as Driver>::Socket>,
    /// How often a listener could not accept.
    pub accept_failures: usize,
    /// Whether segments are kept.
    pub keep: bool,
    slots: u32,
    batch: u64,
}

impl<'a, B: Bed> Rig<'a, B> {
    /// A fresh driver with plenty of memory.
    pub fn new(bed: &'a B) -> Self {
        Self::with_memory(bed, 64 << 20)
    }

    /// A fresh driver with so many bytes.
    pub fn with_memory(bed: &'a B, memory: usize) -> Self {
        Self {
            bed,
            driver: bed.driver(memory),
            logs: BTreeMap::new(),
            tokens: BTreeSet::new(),
            incoming: VecDeque::new(),
            accept_failures: 0,
            keep: false,
            slots: 0,
            batch: 0,
        }
    }

    /// The time after which the case gives up.
    pub fn patience(&self) -> Duration {
        self.bed.patience()
    }

    /// A key of a slot that was never used.
    pub fn key(&mut self) -> Key {
        self.slots += 1;
        self.named(Key::new(self.slots - 1, 1))
    }

    /// The next key of a slot.
    pub fn again(&mut self, key: Key) -> Key {
        self.named(Key::new(key.slot(), key.generation() + 1))
    }

    fn named(&mut self, key: Key) -> Key {
        assert!(self.logs.insert(key, Log::default()).is_none(), "a case uses a key once");
        key
    }

    /// What was told of a connection.
    pub fn log(&self, key: Key) -> &Log {
        &self.logs[&key]
    }

    fn log_mut(&mut self, key: Key) -> &mut Log {
        self.logs.get_mut(&key).expect("a key of this rig")
    }

    /// What was told of a connection, to be taken out.
    pub fn segments(&mut self, key: Key) -> Vec<Segment> {
        std::mem::take(&mut self.log_mut(key).segments)
    }

    /// What makes drivers and peers.
    pub fn bed(&self) -> &'a B {
        self.bed
    }

    /// A connection under a fresh key, and its peer.
    pub fn pair(&mut self) -> (Key, B::Peer) {
        self.pair_of(self.bed.families()[0])
    }

    /// A connection of this family, which the driver knows, under a fresh key; and its peer.
    pub fn pair_of(&mut self, family: Family) -> (Key, B::Peer) {
        let key = self.key();
        (key, self.attach(key, family))
    }

    /// A connection under this key. Answers its peer.
    pub fn attach(&mut self, key: Key, family: Family) -> B::Peer {
        let (peer, socket) = self.bed.pair(family, self.patience());
        self.driver.attach(key, socket).expect("a socket can be attached");
        peer
    }

    /// So many peers that connect to a listener of the driver, which has not accepted them yet.
    pub fn dial(&self, address: &Address, peers: usize) -> Vec<Dialling<B::Peer>> {
        (0..peers).map(|_| self.bed.dial(address, self.patience()).expect("somebody listens")).collect()
    }

    /// Starts to connect.
    ///
    /// # Errors
    /// The driver's.
    pub fn connect(&mut self, key: Key, address: &Address) -> io::Result<()> {
        self.log_mut(key).connecting = true;
        self.driver.connect(key, address, None)
    }

    /// Starts to connect from a local address.
    ///
    /// # Errors
    /// The driver's.
    pub fn connect_from(&mut self, key: Key, address: &Address, local: SocketAddr) -> io::Result<()> {
        self.log_mut(key).connecting = true;
        self.driver.connect(key, address, Some(local))
    }

    /// Gives bytes to the driver, all of them in one piece.
    pub fn send(&mut self, key: Key, bytes: &[u8]) {
        self.send_chain(key, Segment::copy_of(bytes).into(), None);
    }

    /// Gives bytes to the driver from where they are, and those that it does not take so in one piece.
    pub fn send_bytes(&mut self, key: Key, bytes: &[u8]) {
        let taken = self.driver.send_bytes(key, bytes);
        let log = self.log_mut(key);
        log.given += taken as u64;
        log.sent += taken as u64;
        if taken < bytes.len() {
            self.send(key, &bytes[taken..]);
        }
    }

    /// Gives a chain to the driver.
    pub fn send_chain(&mut self, key: Key, mut given: Chain, token: Option<u64>) {
        let mut chain = Chain::new();
        while let Some(piece) = given.pop() {
            chain.push(self.bed.piece(&mut self.driver, key, piece));
        }
        self.log_mut(key).given += chain.len() as u64;
        if let Some(token) = token {
            assert!(self.tokens.insert(token), "a case uses a token once");
        }
        let taken = self.driver.send(key, chain, token.map(Token));
        let log = self.log_mut(key);
        log.sent += taken as u64;
        assert!(log.sent <= log.given, "{} bytes sent of {} given", log.sent, log.given);
    }

    /// Switches receiving on or off.
    pub fn receive(&mut self, key: Key, on: bool) {
        let paused = (!on).then_some(self.batch);
        self.log_mut(key).paused = paused;
        self.driver.receive(key, on);
    }

    /// Closes.
    pub fn close(&mut self, key: Key) {
        let batch = self.batch;
        self.log_mut(key).closing.get_or_insert(batch);
        self.driver.close(key);
    }

    /// Waits once, and works the batch off. Answers the number of events.
    pub fn turn(&mut self, timeout: Duration) -> usize {
        self.wait(timeout);
        let mut events = 0;
        while self.step() {
            events += 1;
        }
        events
    }

    /// Waits once.
    pub fn wait(&mut self, timeout: Duration) {
        self.batch += 1;
        self.driver.wait(Some(timeout)).expect("the driver can wait");
    }

    /// Sleeps once on the driver's descriptor, as somebody does who has other drivers as well, and works the batch off.
    /// Answers whether it slept for all of the time.
    pub fn turn_elsewhere(&mut self, timeout: Duration) -> bool {
        self.wait(Duration::ZERO);
        let limit = self.driver.arm();
        let mut slept = false;
        if limit != Some(Duration::ZERO) {
            let rest = limit.map_or(timeout, |limit| limit.min(timeout));
            let readable = readable_within(self.driver.as_fd(), rest);
            slept = !readable && rest == timeout;
            if readable || limit.is_some() {
                self.driver.wait(Some(Duration::ZERO)).expect("the driver can wait");
            }
        }
        while self.step() {}
        slept
    }

    /// Takes one event. Answers whether there was one.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.driver.next() else {
            let batch = self.batch;
            let late = |log: &Log| !log.closed && log.closing.is_some_and(|at| at + 1 < batch);
            let late = self.logs.iter().find(|(_, log)| late(log));
            assert!(late.is_none(), "closed and not told in the next batch: {late:?}");
            return false;
        };
        self.audit(event);
        true
    }

    /// Turns until something is so.
    ///
    /// # Panics
    /// When it is not so within the patience.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + self.patience();
        // What is due without the kernel's help may be told before the first wait.
        while self.step() {}
        while !is_so(self) {
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "given up: {what}; {self}");
            let longest = if self.driver.caps().must_poll { 1 } else { 50 };
            self.turn(left.min(Duration::from_millis(longest)));
        }
    }

    /// Turns until so many bytes have arrived.
    pub fn until_received(&mut self, key: Key, n: usize) {
        self.until(&format!("{n} bytes arrive on {key:?}"), |rig| rig.log(key).received.len() >= n);
    }

    /// Turns until everything given to `send` is told to be sent.
    pub fn until_sent(&mut self, key: Key) {
        self.until(&format!("everything on {key:?} is sent"), |rig| rig.log(key).sent == rig.log(key).given);
    }

    /// Turns for a while, for what must not happen.
    pub fn linger(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.turn(left);
            if left.is_zero() {
                return;
            }
        }
    }

    /// Waits so many times for a while each, and answers how many of them did not sleep, or were cut short.
    pub fn short_waits(&mut self, waits: usize, each: Duration) -> usize {
        let short = |slept: &(bool, Duration)| !slept.0 || slept.1 < each / 2;
        (0..waits).map(|_| self.sleeps_in_turn(each)).filter(short).count()
    }

    /// Turns once. Answers whether that has slept, and how long it took. Whoever is only slow, or has to wait for a
    /// processor, does not sleep.
    pub fn sleeps_in_turn(&mut self, timeout: Duration) -> (bool, Duration) {
        let (start, before) = (Instant::now(), sleeps());
        self.turn(timeout);
        (sleeps() > before, start.elapsed())
    }

    /// Closes everything, and sees to it that everything is gone and released.
    pub fn finish(mut self) {
        self.keep = false;
        let keys: Vec<Key> = self.logs.keys().copied().collect();
        for key in keys {
            self.log_mut(key).segments.clear();
            if self.driver.detach(key).is_some() {
                // Still there: it was neither closed nor detached by the case.
                assert!(self.log(key).closing.is_none(), "{key:?} is still there after it was closed");
            }
        }
        self.until("closed connections are gone", |rig| {
            rig.logs.values().all(|log| log.closing.is_none() || log.closed)
        });
        self.until("all memory is released", |rig| rig.tokens.is_empty());
        self.linger(Duration::from_millis(1));
    }

    fn audit(&mut self, event: Event<<B::Driver as Driver>::Socket>) {
        let batch = self.batch;
        match event {
            Event::Incoming(key, socket) => {
                assert!(self.logs.contains_key(&key), "a connection for an unknown listener {key:?}");
                self.incoming.push_back(socket);
            }
            Event::AcceptFailed(..) => self.accept_failures += 1,
            Event::Connected(key) => {
                let log = self.alive(key, "Connected");
                assert!(log.connecting && !log.connected, "connected twice, or without being asked to");
                log.connected = true;
            }
            Event::Received(key, segment) => {
                let keep = self.keep;
                let log = self.alive(key, "Received");
                assert!(!log.ended, "bytes after the end");
                assert!(!segment.is_empty(), "no bytes received");
                assert!(log.paused.is_none_or(|at| at >= batch), "bytes during a pause");
                log.received.extend_from_slice(&segment);
                if keep {
                    log.segments.push(segment);
                }
            }
            Event::Sent(key, n) => {
                let log = self.alive(key, "Sent");
                assert!(n > 0, "no bytes sent");
                log.sent += n as u64;
                assert!(log.sent <= log.given, "{} bytes sent of {} given", log.sent, log.given);
            }
            Event::Released(token, _) => assert!(self.tokens.remove(&token.0), "{token:?} released twice"),
            Event::Eof(key) => {
                let log = self.alive(key, "Eof");
                assert!(!log.ended, "the end is told twice");
                log.ended = true;
            }
            Event::Error(key, error) => self.alive(key, "Error").error = Some(error),
            Event::Closed(key) => {
                let log = self.log_mut(key);
                assert!(log.closing.is_some(), "closed without being asked to");
                assert!(!log.closed, "closed twice");
                log.closed = true;
            }
            _ => panic!("an event that the suite does not know"),
        }
    }

    /// The log of a connection that may still tell something.
    fn alive(&mut self, key: Key, event: &str) -> &mut Log {
        let Some(log) = self.logs.get_mut(&key) else { panic!("{event} of an unknown {key:?}") };
        assert!(!log.closed, "{event} after Closed of {key:?}");
        assert!(log.error.is_none(), "{event} after Error of {key:?}");
        log
    }
}

/// How often this thread has given up its processor to wait for something.
fn sleeps() -> i64 {
    // KERNEL: `RUSAGE_THREAD` counts for the calling thread alone (getrusage(2)).
    getrusage(UsageWho::RUSAGE_THREAD).expect("figures of this thread").voluntary_context_switches()
}

impl<B: Bed> std::fmt::Display for Rig<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, log) in self.logs.iter().filter(|(_, log)| !log.closed) {
            let Log { received, given, sent, ended, error, .. } = log;
            let received = received.len();
            write!(f, "[{key:?}: received {received}, sent {sent} of {given}, ended {ended}, {error:?}] ")?;
        }
        Ok(())
    }
}
