//! A wrapper that does one thing wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{AllocError, BlockPool, Chain, Segment, Spent, Tail};
use linkpoll::driver::system::EventBell;
use linkpoll::driver::{Caps, Detached, Driver, Event, Key, Lending, SystemCalls, Token};
use linkpoll::net::Address;
use linkpoll::sync::{Arc, Bell};

use nix::sys::socket::{setsockopt, sockopt};

use super::Fault;

/// A driver with a fault.
pub struct Broken<D: Driver> {
    inner: D,
    fault: Fault,
    /// What is told before anything else.
    due: VecDeque<Event<D::Socket>>,
    /// The last bytes received, which are not told before something else comes; and whether a wait has come since.
    held: BTreeMap<Key, (Segment, bool)>,
    /// The key of each slot's present user.
    users: BTreeMap<u32, Key>,
    connecting: BTreeSet<Key>,
    kept: Vec<Segment>,
    hints: BTreeMap<Key, usize>,
    paused: BTreeSet<Key>,
    favourite: Option<Key>,
    favoured: bool,
    count: usize,
    calls: Arc<SystemCalls>,
    echoes: usize,
    duplicates: Vec<OwnedFd>,
    /// A descriptor on which nothing ever happens.
    silence: EventBell,
}

struct Silence;

impl Bell for Silence {
    fn ring(&self) {}
}

impl<D: Driver> Broken<D> {
    /// Puts a fault into a driver.
    pub fn new(inner: D, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            due: VecDeque::new(),
            held: BTreeMap::new(),
            users: BTreeMap::new(),
            connecting: BTreeSet::new(),
            kept: Vec::new(),
            hints: BTreeMap::new(),
            paused: BTreeSet::new(),
            favourite: None,
            favoured: false,
            count: 0,
            calls: Arc::default(),
            echoes: 0,
            duplicates: Vec::new(),
            silence: EventBell::new().expect("a descriptor"),
        }
    }

    /// The fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The driver that has it.
    pub fn inner(&mut self) -> &mut D {
        &mut self.inner
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Every other time.
    fn alternately(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(2)
    }

    fn takes_in(&mut self, key: Key) {
        let former = self.users.insert(key.slot(), key);
        if self.has(Fault::TellsOldNews) && former.is_some() {
            self.due.push_back(Event::Received(key, Segment::copy_of(b"old news")));
        }
        if self.favourite.is_none() {
            self.favourite = Some(key);
        }
    }

    /// The key that an operation is carried out on.
    fn user(&self, key: Key) -> Key {
        if self.has(Fault::IgnoresGenerations) { *self.users.get(&key.slot()).unwrap_or(&key) } else { key }
    }

    /// What is told of an event, the first now and the others afterwards.
    fn distort(&mut self, event: Event<D::Socket>) -> Vec<Event<D::Socket>> {
        match (self.fault, event) {
            (Fault::Reorders, Event::Received(key, mut bytes)) if bytes.len() > 1 => {
                let first = bytes.split_to(bytes.len() / 2);
                vec![Event::Received(key, bytes), Event::Received(key, first)]
            }
            (Fault::TakesHintsForLimits, Event::Received(key, bytes)) => self.limit(key, bytes),
            (Fault::KeepsMemory, Event::Received(key, bytes)) => {
                self.kept.push(bytes.clone());
                vec![Event::Received(key, bytes)]
            }
            (Fault::EndsTwice, Event::Eof(key)) => vec![Event::Eof(key), Event::Eof(key)],
            (Fault::ReceivesAfterEnd, Event::Eof(key)) => {
                vec![Event::Eof(key), Event::Received(key, Segment::copy_of(b"late"))]
            }
            (Fault::NeverEnds, Event::Eof(_))
            | (Fault::SwallowsErrors, Event::Error(..))
            | (Fault::SwallowsAcceptFailures, Event::AcceptFailed(..))
            | (Fault::NeverReleases, Event::Released(..))
            | (Fault::NeverTellsClosed, Event::Closed(_)) => Vec::new(),
            (Fault::SendsTwice, Event::Sent(key, n)) => vec![Event::Sent(key, n), Event::Sent(key, n)],
            (Fault::ForgetsSent, Event::Sent(..)) if self.alternately() => Vec::new(),
            (Fault::ReleasesTwice, Event::Released(token, copied)) => {
                vec![Event::Released(token, copied), Event::Released(token, copied)]
            }
            (Fault::ReleasesEarly, Event::Released(..)) => Vec::new(),
            (Fault::ClosesTwice, Event::Closed(key)) => vec![Event::Closed(key), Event::Closed(key)],
            (Fault::TalksAfterClose, Event::Closed(key)) => {
                vec![Event::Closed(key), Event::Received(key, Segment::copy_of(b"late"))]
            }
            (Fault::DropsConnections, Event::Incoming(key, socket)) => {
                self.count += 1;
                if self.count.is_multiple_of(10) { Vec::new() } else { vec![Event::Incoming(key, socket)] }
            }
            (Fault::AcceptsUntilItFails, Event::AcceptFailed(key, error)) => {
                self.count += 1;
                vec![Event::AcceptFailed(key, error)]
            }
            (Fault::AcceptsUntilItFails, Event::Incoming(..)) if self.count >= 2 => Vec::new(),
            (_, event) => vec![event],
        }
    }

    fn limit(&mut self, key: Key, bytes: Segment) -> Vec<Event<D::Socket>> {
        let Some(left) = self.hints.get_mut(&key) else { return vec![Event::Received(key, bytes)] };
        let taken = bytes.len().min(*left);
        *left -= taken;
        let taken = bytes.slice(..taken);
        if taken.is_empty() { Vec::new() } else { vec![Event::Received(key, taken)] }
    }

    /// The next event of the driver; bytes not before it is known what follows them in this batch or the next.
    fn next_held(&mut self) -> Option<Event<D::Socket>> {
        loop {
            match self.inner.next() {
                Some(Event::Received(key, bytes)) => {
                    if let Some((bytes, _)) = self.held.insert(key, (bytes, false)) {
                        return Some(Event::Received(key, bytes));
                    }
                }
                Some(Event::Eof(key)) => {
                    self.held.remove(&key);
                    return Some(Event::Eof(key));
                }
                Some(event) => return Some(event),
                None => {
                    let due = self.held.iter().find(|(_, (_, waited))| *waited).map(|(key, _)| *key)?;
                    return self.held.remove(&due).map(|(bytes, _)| Event::Received(due, bytes));
                }
            }
        }
    }

    /// The next event of the driver; bytes of others only when the favourite has none.
    fn next_favoured(&mut self) -> Option<Event<D::Socket>> {
        loop {
            match self.inner.next() {
                Some(Event::Received(key, bytes)) if Some(key) != self.favourite => {
                    self.kept.push(bytes);
                    self.users.insert(u32::MAX - key.slot(), key);
                }
                Some(event) => {
                    self.favoured |= matches!(event, Event::Received(..));
                    return Some(event);
                }
                None => {
                    if std::mem::take(&mut self.favoured) {
                        return None;
                    }
                    let others: Vec<Key> =
                        self.users.range(u32::MAX / 2..).rev().map(|(_, key)| *key).collect();
                    self.users.retain(|slot, _| *slot < u32::MAX / 2);
                    let told = others.into_iter().zip(self.kept.drain(..));
                    self.due.extend(told.map(|(key, bytes)| Event::Received(key, bytes)));
                    return self.due.pop_front();
                }
            }
        }
    }
}

fn mix_urgent_bytes_in<D: Driver>(socket: D::Socket) -> D::Socket {
    let peer = D::peer(&socket);
    let fd = D::into_fd(socket).expect("a driver over descriptors");
    // An option of TCP only.
    let _ = setsockopt(&fd, sockopt::OobInline, &true);
    D::from_fd(fd, peer).expect("as before")
}

impl<D: Driver> Driver for Broken<D> {
    type Socket = D::Socket;

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn pool(&self) -> &BlockPool {
        self.inner.pool()
    }

    fn bell(&self) -> Box<dyn Bell> {
        if self.has(Fault::DeafToBells) { Box::new(Silence) } else { self.inner.bell() }
    }

    fn system_calls(&self) -> Arc<SystemCalls> {
        if self.has(Fault::WaitsForRoom) { Arc::clone(&self.calls) } else { self.inner.system_calls() }
    }

    fn peer(socket: &D::Socket) -> Address {
        D::peer(socket)
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        let bound = self.inner.listen(key, address, share);
        match self.fault {
            Fault::HidesTakenPorts => Ok(bound.unwrap_or_else(|_| address.clone())),
            Fault::KeepsPortZero => bound.map(|_| address.clone()),
            _ => bound,
        }
    }

    fn from_fd(fd: OwnedFd, peer: Address) -> Option<D::Socket> {
        D::from_fd(fd, peer)
    }

    fn into_fd(socket: D::Socket) -> Option<OwnedFd> {
        D::into_fd(socket)
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        self.takes_in(key);
        self.connecting.insert(key);
        let started =
            self.inner.connect(key, address, local.filter(|_| !self.has(Fault::IgnoresLocalAddresses)));
        if self.has(Fault::HidesFailedConnects) { Ok(()) } else { started }
    }

    fn attach(&mut self, key: Key, socket: D::Socket) -> io::Result<()> {
        self.takes_in(key);
        let socket =
            if self.has(Fault::MixesUrgentBytesIn) { mix_urgent_bytes_in::<D>(socket) } else { socket };
        self.inner.attach(key, socket)
    }

    fn detach(&mut self, key: Key) -> Option<Detached<D::Socket>> {
        let mut detached = self.inner.detach(key)?;
        match self.fault {
            Fault::LosesUnsent => detached.unsent = Chain::new(),
            Fault::LosesUntold => detached.received = Chain::new(),
            Fault::KeepsDuplicates => {
                let peer = D::peer(&detached.socket);
                let fd = D::into_fd(detached.socket)?;
                self.duplicates.extend(fd.try_clone());
                detached.socket = D::from_fd(fd, peer)?;
            }
            _ => {}
        }
        Some(detached)
    }

    fn receive(&mut self, key: Key, on: bool) {
        let key = self.user(key);
        if on && self.has(Fault::ConnectsTooSoon) && self.connecting.contains(&key) {
            self.due.push_back(Event::Connected(key));
        }
        let ignored = match self.fault {
            Fault::IgnoresPause => !on,
            Fault::ForgetsToResume => on && self.paused.contains(&key),
            _ => false,
        };
        if !on {
            self.paused.insert(key);
        }
        if !ignored {
            self.inner.receive(key, on);
        }
    }

    fn want(&mut self, key: Key, bytes: usize) {
        self.hints.insert(key, bytes);
        if !self.has(Fault::IgnoresHints) {
            self.inner.want(key, bytes);
        }
    }

    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        self.inner.alloc_send(key, bytes)
    }

    fn send(&mut self, key: Key, mut chain: Chain, mut released: Option<Token>) -> usize {
        let key = self.user(key);
        if chain.pieces() > 32 {
            self.calls.control.add(2);
        }
        if self.has(Fault::SendsBackwards) {
            let front = chain.split_to(chain.len() / 2).unwrap_or_default();
            chain.append(front);
        }
        if self.has(Fault::ForgetsEmptySends) && chain.is_empty() {
            released = None;
        }
        if self.has(Fault::ReleasesEarly) {
            self.due.extend(released.map(|token| Event::Released(token, Lending::Copied)));
        }
        let taken = self.inner.send(key, chain, released);
        let fault = self.fault;
        match fault {
            Fault::SendsTwice => 2 * taken,
            Fault::ForgetsSent if self.alternately() => 0,
            _ => taken,
        }
    }

    fn send_bytes(&mut self, key: Key, bytes: &[u8]) -> usize {
        let taken = self.inner.send_bytes(self.user(key), bytes);
        if self.has(Fault::ForgetsBytesInPlace) { 0 } else { taken }
    }

    fn reuse(&mut self, key: Key, spent: Spent) {
        self.inner.reuse(self.user(key), spent);
    }

    fn shutdown(&mut self, key: Key) {
        if !self.has(Fault::NeverShutsDown) {
            self.inner.shutdown(self.user(key));
        }
    }

    fn close(&mut self, key: Key) {
        if self.has(Fault::LeavesOpen) {
            if self.users.remove(&key.slot()).is_some() {
                self.inner.receive(key, false);
                self.due.push_back(Event::Closed(key));
            }
            return;
        }
        self.inner.close(self.user(key));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.fault {
            Fault::LosesLastBytes if !self.held.is_empty() => {
                self.held.values_mut().for_each(|(_, waited)| *waited = true);
                return self.inner.wait(Some(Duration::ZERO));
            }
            Fault::NeverSleeps => return self.inner.wait(Some(Duration::ZERO)),
            Fault::SleepsWhileLooking => thread::sleep(Duration::from_millis(20)),
            Fault::Echoes if self.echoes > 0 => {
                self.echoes -= 1;
                return self.inner.wait(Some(Duration::ZERO));
            }
            Fault::DeafToMemory => {
                // Sleeps on, whoever rings, until there is something to tell or the time is over.
                thread::sleep(timeout.unwrap_or_default());
            }
            _ => {}
        }
        let start = std::time::Instant::now();
        let waited = self.inner.wait(timeout);
        if self.has(Fault::Echoes) && timeout.is_some_and(|timeout| start.elapsed() < timeout) {
            self.echoes = 10;
        }
        waited
    }

    fn arm(&mut self) -> Option<Duration> {
        let limit = self.inner.arm();
        if self.has(Fault::ForgetsWhatItSaw) || self.has(Fault::HidesBehindItsDescriptor) {
            return None;
        }
        if self.due.is_empty() { limit } else { Some(Duration::ZERO) }
    }

    fn next(&mut self) -> Option<Event<D::Socket>> {
        loop {
            if let Some(event) = self.due.pop_front() {
                return Some(event);
            }
            let event = match self.fault {
                Fault::LosesLastBytes => self.next_held(),
                Fault::PlaysFavourites => self.next_favoured(),
                _ => self.inner.next(),
            }?;
            let mut told = self.distort(event).into_iter();
            if let Some(first) = told.next() {
                self.due.extend(told);
                return Some(first);
            }
        }
    }
}

impl<D: Driver> AsFd for Broken<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.has(Fault::HidesBehindItsDescriptor) { self.silence.as_fd() } else { self.inner.as_fd() }
    }
}
