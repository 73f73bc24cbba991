//! What happens to a driver, and the audit of what it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::epoll::Socket;
use linkpoll::driver::{Detached, Driver as _, Event, Key, Token};
use linkpoll::net::Address;
use proptest::prelude::*;

use super::super::{Uring, UringOptions};
use super::played::{Obedience, Played, byte_at};

const CONNECTIONS: usize = 3;

macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Waits once, and works the batch off.
    Turn,
    /// Waits once, and takes some events only; the rest with the next.
    Part(usize),
    Arrive(usize, usize),
    End(usize),
    Reset(usize),
    Room(usize, usize),
    Notify(bool),
    Obey(u8),
    EndsEarly(bool),
    Completions(usize),
    Receive(usize, bool),
    Want(usize, usize),
    Send(usize, Vec<usize>, bool),
    Shutdown(usize),
    Close(usize),
    Detach(usize),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..CONNECTIONS;
    let step = prop_oneof![
        6 => Just(Step::Turn),
        2 => (0..4_usize).prop_map(Step::Part),
        4 => (who.clone(), 1..20_000_usize).prop_map(|(who, n)| Step::Arrive(who, n)),
        1 => who.clone().prop_map(Step::End),
        1 => who.clone().prop_map(Step::Reset),
        3 => (who.clone(), 0..5000_usize).prop_map(|(who, n)| Step::Room(who, n)),
        2 => any::<bool>().prop_map(Step::Notify),
        2 => (0..5_u8).prop_map(Step::Obey),
        1 => any::<bool>().prop_map(Step::EndsEarly),
        1 => (1..9_usize).prop_map(Step::Completions),
        3 => (who.clone(), any::<bool>()).prop_map(|(who, on)| Step::Receive(who, on)),
        2 => (who.clone(), 0..40_000_usize).prop_map(|(who, n)| Step::Want(who, n)),
        4 => (who.clone(), prop::collection::vec(1..3000_usize, 0..4), any::<bool>())
            .prop_map(|(who, pieces, token)| Step::Send(who, pieces, token)),
        1 => who.clone().prop_map(Step::Shutdown),
        2 => who.clone().prop_map(Step::Close),
        1 => who.prop_map(Step::Detach),
    ];
    prop::collection::vec(step, 1..60)
}

/// Bytes whose memory the ring may read until they are dropped.
struct Canary(Arc<Vec<u8>>, Arc<AtomicBool>);

impl AsRef<[u8]> for Canary {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // ORDERING: Relaxed, no partner: one thread.
        self.1.store(false, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Log {
    fd: RawFd,
    received: u64,
    given: u64,
    sent: u64,
    ended: bool,
    failed: bool,
    closed: bool,
    closing: Option<usize>,
    paused: Option<usize>,
    shut: bool,
}

struct Audit {
    driver: Uring<Played>,
    keys: Vec<Key>,
    logs: BTreeMap<Key, Log>,
    peers: Vec<UnixStream>,
    tokens: BTreeSet<u64>,
    next_token: u64,
    batch: usize,
}

/// Runs a script, and then brings everything to its end.
pub(super) fn run(steps: &[Step], memory: usize) -> Result<(), String> {
    let mut audit = begin(memory)?;
    for step in steps {
        audit.step(step)?;
    }
    audit.finish()
}

/// Detaches a connection whose operations the ring does not end. Answers how long the driver would have slept.
pub(super) fn detach_in_vain() -> Result<Duration, String> {
    let mut audit = begin(256 << 10)?;
    audit.step(&Step::Arrive(0, 100))?;
    audit.turn(usize::MAX)?;
    audit.driver.ring.obedience = Obedience::Never;
    let before = audit.driver.ring.slept;
    ensure!(audit.driver.detach(audit.keys[0]).is_none(), "it was given away with an operation under way");
    let slept = audit.driver.ring.slept - before;
    // What the audit takes for a reason of the error that follows.
    audit.stream(0)?.reset = true;
    audit.turn(usize::MAX)?;
    let key = audit.keys[0];
    ensure!(audit.log(key)?.failed, "nobody is told why");
    audit.close(0)?;
    audit.finish()?;
    Ok(slept)
}

fn begin(memory: usize) -> Result<Audit, String> {
    let options = UringOptions {
        memory,
        buffers: 3,
        buffer_size: 4096,
        lend_from: Some(2000),
        fill_from: Some(3000),
        ..UringOptions::default()
    };
    let driver = Uring::with_ring(Played::new(), options).map_err(|error| error.to_string())?;
    let mut audit = Audit {
        driver,
        keys: Vec::new(),
        logs: BTreeMap::new(),
        peers: Vec::new(),
        tokens: BTreeSet::new(),
        next_token: 0,
        batch: 0,
    };
    for slot in 0..CONNECTIONS {
        let key = Key::new(u32::try_from(slot).unwrap_or(0), 1);
        audit.keys.push(key);
        audit.attach(key)?;
    }
    Ok(audit)
}

impl Audit {
    fn attach(&mut self, key: Key) -> Result<(), String> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let fd = OwnedFd::from(ours);
        self.peers.push(theirs);
        self.driver.ring.open(fd.as_raw_fd(), 1000);
        self.logs.insert(key, Log { fd: fd.as_raw_fd(), ..Log::default() });
        // An address of TCP, for which memory is lent.
        let peer = Box::new(Address::Tcp(([127, 0, 0, 1], 1).into()));
        self.driver.attach(key, Socket { fd, peer }).map_err(|error| error.to_string())
    }

    /// The next use of a slot.
    fn renew(&mut self, who: usize) -> Result<(), String> {
        let old = self.keys[who];
        self.keys[who] = Key::new(old.slot(), old.generation() + 1);
        self.attach(self.keys[who])
    }

    fn log(&mut self, key: Key) -> Result<&mut Log, String> {
        self.logs.get_mut(&key).ok_or_else(|| format!("{key:?} was never attached"))
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Turn => self.turn(usize::MAX)?,
            Step::Part(events) => self.turn(*events)?,
            Step::Notify(copied) => self.driver.ring.notify(*copied),
            Step::Obey(how) => {
                let ways = [
                    Obedience::AtOnce,
                    Obedience::NotFound,
                    Obedience::OnceMore,
                    Obedience::Later,
                    Obedience::Never,
                ];
                self.driver.ring.obedience = ways[usize::from(*how)];
            }
            Step::EndsEarly(on) => self.driver.ring.ends_early = *on,
            Step::Completions(n) => self.driver.ring.completions = *n,
            Step::Arrive(who, n) => {
                let stream = self.stream(*who)?;
                if !stream.ended && !stream.reset {
                    stream.arrived += *n as u64;
                }
            }
            Step::End(who) => self.stream(*who)?.ended = true,
            Step::Reset(who) => self.stream(*who)?.reset = true,
            Step::Room(who, n) => self.stream(*who)?.room += n,
            Step::Receive(who, on) => {
                let (key, batch) = (self.keys[*who], self.batch);
                self.log(key)?.paused = (!on).then_some(batch);
                self.driver.receive(key, *on);
            }
            Step::Want(who, n) => self.driver.want(self.keys[*who], *n),
            Step::Send(who, pieces, token) => self.send(*who, pieces, *token)?,
            Step::Shutdown(who) => {
                let key = self.keys[*who];
                self.log(key)?.shut = true;
                self.driver.shutdown(key);
            }
            Step::Close(who) => self.close(*who)?,
            Step::Detach(who) => self.detach(*who)?,
        }
        let faults = &self.driver.ring.faults;
        ensure!(faults.is_empty(), "{faults:?}");
        Ok(())
    }

    fn stream(&mut self, who: usize) -> Result<&mut super::played::Stream, String> {
        let fd = self.logs.get(&self.keys[who]).map(|log| log.fd);
        let stream = fd.and_then(|fd| self.driver.ring.streams.get_mut(&fd));
        stream.ok_or_else(|| "a connection without a socket".to_owned())
    }

    fn send(&mut self, who: usize, pieces: &[usize], token: bool) -> Result<(), String> {
        let key = self.keys[who];
        let log = self.log(key)?;
        if log.shut {
            return Ok(());
        }
        let mut at = log.given;
        let mut chain = Chain::new();
        let mut memory = Vec::new();
        for len in pieces {
            let bytes: Vec<u8> = (0..*len as u64).map(|n| byte_at(at + n)).collect();
            at += *len as u64;
            let alive = Arc::new(AtomicBool::new(true));
            let bytes = Arc::new(bytes);
            memory.push((Arc::clone(&bytes), Arc::clone(&alive)));
            chain.push(Segment::from_owner(Canary(bytes, alive)));
        }
        log.given = at;
        self.driver.ring.memory.extend(memory);
        let token = token.then(|| {
            self.next_token += 1;
            self.tokens.insert(self.next_token);
            Token(self.next_token)
        });
        let taken = self.driver.send(key, chain, token);
        self.log(key)?.sent += taken as u64;
        Ok(())
    }

    fn close(&mut self, who: usize) -> Result<(), String> {
        let (key, batch) = (self.keys[who], self.batch);
        self.log(key)?.closing = Some(batch);
        self.driver.close(key);
        // The key may be used again after the batch in which `Closed` came.
        self.turn(usize::MAX)?;
        self.turn(usize::MAX)?;
        ensure!(self.log(key)?.closed, "{key:?} was closed and not told within the next batch");
        self.renew(who)
    }

    fn detach(&mut self, who: usize) -> Result<(), String> {
        let key = self.keys[who];
        // One that never obeys cannot be got back; that is another matter.
        self.driver.ring.let_go();
        if self.driver.ring.obedience == Obedience::Never || self.driver.ring.obedience == Obedience::NotFound
        {
            self.driver.ring.obedience = Obedience::OnceMore;
        }
        let Some(Detached { socket, received, unsent }) = self.driver.detach(key) else { return Ok(()) };
        let log = self.log(key)?;
        let mut at = log.received;
        for byte in received.segments().flat_map(|segment| segment.iter()) {
            ensure!(*byte == byte_at(at), "another byte at {at} of what comes with a socket");
            at += 1;
        }
        let (fd, given, closing) = (log.fd, log.given, self.batch);
        let log = self.log(key)?;
        log.closed = true;
        log.closing = Some(closing);
        let stream = self.driver.ring.streams.get(&fd).ok_or("no socket")?;
        ensure!(at == stream.taken, "{at} bytes of {} came out of a detached connection", stream.taken);
        let sent = stream.sent.len() as u64;
        ensure!(sent + unsent.len() as u64 == given, "sent {sent}, unsent {} of {given}", unsent.len());
        self.turn(usize::MAX)?;
        drop(socket);
        self.renew(who)
    }

    fn turn(&mut self, most: usize) -> Result<(), String> {
        self.batch += 1;
        self.driver.wait(Some(Duration::ZERO)).map_err(|error| error.to_string())?;
        for _ in 0..most {
            let Some(event) = self.driver.next() else {
                let batch = self.batch;
                let late = |log: &Log| !log.closed && log.closing.is_some_and(|at| at + 1 < batch);
                ensure!(!self.logs.values().any(late), "closed, and not told in the next batch");
                return Ok(());
            };
            self.told(event)?;
        }
        // The batch has to be worked off before the next wait.
        while let Some(event) = self.driver.next() {
            self.told(event)?;
        }
        Ok(())
    }

    fn alive(&mut self, key: Key, what: &str) -> Result<&mut Log, String> {
        let log = self.log(key)?;
        ensure!(!log.closed && !log.failed, "{what} of {key:?} after its end");
        Ok(log)
    }

    fn told(&mut self, event: Event<Socket>) -> Result<(), String> {
        let batch = self.batch;
        match event {
            Event::Received(key, segment) => {
                let log = self.alive(key, "Received")?;
                ensure!(!log.ended, "bytes after the end");
                ensure!(!segment.is_empty(), "no bytes");
                ensure!(log.paused.is_none_or(|at| at >= batch), "bytes during a pause");
                for byte in &*segment {
                    ensure!(*byte == byte_at(log.received), "another byte at {} of {key:?}", log.received);
                    log.received += 1;
                }
            }
            Event::Sent(key, n) => {
                let log = self.alive(key, "Sent")?;
                log.sent += n as u64;
                ensure!(n > 0 && log.sent <= log.given, "{} sent of {}", log.sent, log.given);
                let (fd, sent) = (log.fd, log.sent);
                let stream = self.driver.ring.streams.get(&fd).ok_or("no socket")?;
                ensure!(sent <= stream.sent.len() as u64, "sent more than was");
            }
            Event::Released(token, _) => {
                ensure!(self.tokens.remove(&token.0), "{token:?} released twice");
            }
            Event::Eof(key) => {
                let log = self.alive(key, "Eof")?;
                ensure!(!log.ended, "two ends");
                log.ended = true;
                let (fd, received) = (log.fd, log.received);
                let stream = self.driver.ring.streams.get(&fd).ok_or("no socket")?;
                ensure!(received == stream.arrived, "the end after {received} of {}", stream.arrived);
            }
            Event::Error(key, error) => {
                let log = self.alive(key, "Error")?;
                log.failed = true;
                let fd = log.fd;
                let reset = self.driver.ring.streams.get(&fd).is_some_and(|stream| stream.reset);
                ensure!(reset, "{error} without a reason");
            }
            Event::Closed(key) => {
                let log = self.log(key)?;
                ensure!(log.closing.is_some() && !log.closed, "closed twice, or without being asked");
                log.closed = true;
            }
            other => return Err(format!("{other:?} was not to be expected")),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), String> {
        self.driver.ring.obedience = Obedience::AtOnce;
        self.driver.ring.completions = 1000;
        self.driver.ring.let_go();
        for who in 0..CONNECTIONS {
            self.stream(who)?.room = 1 << 20;
            let key = self.keys[who];
            self.log(key)?.paused = None;
            self.driver.receive(key, true);
        }
        for _ in 0..100 {
            self.turn(usize::MAX)?;
            self.driver.ring.notify(true);
        }
        for who in 0..CONNECTIONS {
            let key = self.keys[who];
            let stream = self.stream(who)?;
            let (arrived, ended, reset) = (stream.arrived, stream.ended, stream.reset);
            for (at, byte) in (0..).zip(&stream.sent) {
                ensure!(*byte == byte_at(at), "another byte at {at} of what was sent");
            }
            let (out, batch) = (stream.sent.len() as u64, self.batch);
            let log = self.log(key)?;
            if !reset {
                ensure!(log.received == arrived, "{} of {arrived} bytes have come", log.received);
                ensure!(log.ended == ended, "ended {}, and told {}", ended, log.ended);
                ensure!(log.sent == log.given && out == log.given, "{} sent of {}", log.sent, log.given);
            }
            log.closing = Some(batch);
            self.driver.close(key);
        }
        for _ in 0..100 {
            self.turn(usize::MAX)?;
            self.driver.ring.notify(true);
            let ring = &mut self.driver.ring;
            let faults = std::mem::take(&mut ring.faults);
            ensure!(faults.is_empty(), "{faults:?}");
        }
        ensure!(self.logs.values().all(|log| log.closing.is_none() || log.closed), "not all are closed");
        ensure!(self.tokens.is_empty(), "{:?} were never released", self.tokens);
        let statistics = self.driver.statistics();
        ensure!(statistics.entries == 0 && statistics.outstanding == 0, "left: {statistics:?}");
        ensure!(self.driver.ring.rests(), "operations are left");
        let with_ring = self.driver.ring.buffers.len() as u64;
        ensure!(statistics.buffers == with_ring, "{with_ring} buffers, counted {}", statistics.buffers);
        Ok(())
    }
}
