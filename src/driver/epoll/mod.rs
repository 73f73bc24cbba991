//! The epoll driver: readiness, one receive and one send per ready connection.
//!
//! * **Receiving** happens inside of `next`, into a block that belongs to the loop, not to the connection; an idle
//!   connection holds no memory. When nobody keeps a segment of the block, the next connection is received into the
//!   same bytes, which are in the cache. See `receive.rs`.
//! * **Sending** is tried at once, and repeated until the socket is full; only then is room waited for. See `send.rs`.
//! * **Watching** follows from the state of a slot. Changes are collected and made before the next wait, so a pause
//!   that is lifted in the same turn costs no system call. See `watch.rs`.
//!
//! * **Kernels and paths.** The system calls are behind [`Kernel`], which may serve many connections with one call
//!   (`ahead.rs`, `deferred.rs`); the way of sent bytes is behind [`SendPath`], which may lend their memory. Drivers
//!   on trial supply these two; everything else they share.
//!
//! Level-triggered by default: then a connection that was not read empty is simply reported again. Edge-triggered by
//! choice: then it is carried over to the next turn by the driver.

mod ahead;
mod arrive;
mod batch;
mod deferred;
mod kernel;
mod options;
mod path;
mod receive;
mod send;
mod slot;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub use kernel::{Interest, Kernel, Linux, Readiness, Ready, ReceiveEntry, SendEntry};
pub use options::{EpollOptions, Trigger};
pub use path::{Copying, Outcome, SendPath, Tools};
pub use slot::Socket;
use slot::{Kind, Slot};

use super::{Caps, Detached, Driver, Event, Key, KeyTable, SystemCalls, Token};
use crate::buffer::{AllocError, BlockPool, Chain, PoolOptions, Spent, Tail};
use crate::net::Address;
use crate::sync::{Arc, Bell};
use crate::sys::{self, EventFd};
use ahead::Ahead;
use batch::{Batch, Current};
use deferred::Deferred;

/// The token of the bell. No slot has this number.
const BELL: u64 = u64::MAX;

/// The driver; see the module's documentation.
#[derive(Debug)]
pub struct Epoll<K: Kernel = Linux, S: SendPath<K> = Copying> {
    kernel: K,
    path: S,
    options: EpollOptions,
    calls: Arc<SystemCalls>,
    bell: EventFd,
    pool: BlockPool,
    /// The block that connections are received into, and one more that a large receive may run over into.
    block: Option<Tail>,
    spare: Option<Tail>,
    slots: KeyTable<Slot<S::Line>>,
    /// Events that are due without asking the kernel.
    events: VecDeque<Event<Socket>>,
    batch: Batch,
    /// Connections that were not read empty (edge-triggered only).
    carried: Vec<Key>,
    /// Connections that wait for a block.
    starved: Vec<Key>,
    /// Slots whose watch is to be brought up to date.
    stale: Vec<Key>,
    ahead: Ahead,
    deferred: Deferred,
}

impl Epoll<Linux> {
    /// A driver on a fresh epoll instance.
    ///
    /// # Errors
    /// As epoll_create1(2) and eventfd(2).
    pub fn new(options: EpollOptions) -> io::Result<Self> {
        Self::with_kernel(Linux::new()?, options)
    }
}

impl<K: Kernel> Epoll<K> {
    /// A driver on a given kernel.
    ///
    /// # Errors
    /// As [`with_path`](Self::with_path).
    pub fn with_kernel(kernel: K, options: EpollOptions) -> io::Result<Self> {
        Self::with_path(kernel, Copying, options)
    }
}

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// With less pooled memory than for one block to receive into, nothing could ever be received.
    const LEAST_MEMORY: usize = 256 << 10;
    /// Connections accepted from one listener in one turn.
    const ACCEPTS: usize = 64;

    /// A driver on a given kernel, that sends on a given path.
    ///
    /// # Errors
    /// As eventfd(2), when the kernel refuses to watch it, and when `options.memory` is less than its least.
    pub fn with_path(mut kernel: K, path: S, options: EpollOptions) -> io::Result<Self> {
        if options.memory < Self::LEAST_MEMORY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a driver needs 256 KiB of pooled memory",
            ));
        }
        let bell = EventFd::new()?;
        kernel.watch(bell.as_fd(), BELL, Interest { receive: true, send: false, edge: true })?;
        let pool = PoolOptions { limit: options.memory, bell: Some(Box::new(bell.clone())) };
        Ok(Self {
            kernel,
            path,
            options,
            calls: Arc::default(),
            bell,
            pool: BlockPool::new(pool),
            block: None,
            spare: None,
            slots: KeyTable::default(),
            events: VecDeque::new(),
            batch: Batch::default(),
            carried: Vec::new(),
            starved: Vec::new(),
            stale: Vec::new(),
            ahead: Ahead::default(),
            deferred: Deferred::default(),
        })
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The send path.
    pub fn path(&mut self) -> &mut S {
        &mut self.path
    }

    /// Takes a slot in and has it watched.
    fn add(&mut self, key: Key, slot: Slot<S::Line>) -> io::Result<()> {
        let interest = slot.interest(self.edge(), false).unwrap_or_default();
        self.calls.control.add(1);
        self.kernel.watch(slot.fd(), key.to_word(), interest)?;
        let old = self.slots.insert(key, Slot { watched: Some(interest), ..slot });
        debug_assert!(old.is_none(), "a slot is used again only after `Closed`");
        Ok(())
    }

    /// Whether there is something to tell, or to look at, that the kernel does not report.
    fn is_busy(&self) -> bool {
        !self.events.is_empty() || !self.carried.is_empty()
    }

    /// Lets the path look after what it has lent. Answers how long a sleep may take for that.
    fn tend_path(&mut self) -> Option<Duration> {
        if !S::LENDS {
            return None;
        }
        let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
        self.path.tend(tools)
    }

    fn edge(&self) -> bool {
        self.options.trigger == Trigger::Edge
    }

    /// Starts work on the next ready descriptor. Answers whether there was one.
    fn advance(&mut self) -> bool {
        let Some(ready) = self.batch.ready.get(self.batch.at) else { return false };
        self.batch.at += 1;
        if ready.token() == BELL {
            return true;
        }
        let key = Key::from_word(ready.token());
        let mut readiness = ready.readiness();
        if readiness.is_error() && self.heed_errors(key, readiness) {
            // What lent memory has to tell is no error. If there is an error besides, receiving finds it.
            readiness = readiness.without_error();
        }
        let Some(slot) = self.slots.get(key) else { return true };
        match slot.kind {
            Kind::Listener => self.batch.current = Some(Current { key, readiness, budget: Self::ACCEPTS }),
            Kind::Connecting if readiness.may_send() => self.finish_connect(key),
            Kind::Connecting => {}
            Kind::Connection => {
                if readiness.may_send() && slot.unsent.is_some() {
                    self.flush(key);
                }
                let budget = self.options.receive_budget;
                self.batch.current = Some(Current { key, readiness, budget });
            }
        }
        true
    }

    /// Looks for news of lent memory. Answers whether they explain the report.
    #[cold]
    fn heed_errors(&mut self, key: Key, readiness: Readiness) -> bool {
        if !S::LENDS && readiness.is_hung_up() {
            // Reported for ever in any case, and nobody waits for the news.
            return false;
        }
        let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
        match self.slots.get_mut(key) {
            Some(slot) if slot.kind == Kind::Connection => {
                self.path.heed_errors(tools, &mut slot.line, slot.fd.as_fd())
            }
            Some(_) => false,
            None => {
                self.path.reported(tools, key, readiness);
                false
            }
        }
    }

    /// Ends a connection's traffic after an error.
    fn fail(&mut self, key: Key, error: io::Error) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if std::mem::replace(&mut slot.failed, true) {
            return;
        }
        slot.ended = true;
        let unsent = slot.unsent.take();
        self.mark_stale(key);
        self.events.push_back(Event::Error(key, error));
        self.release_all(key, unsent);
        if S::LENDS {
            self.heed_errors(key, Readiness::ERROR);
        }
    }

    /// Takes back what is due to be told of a connection. Answers the bytes among it.
    fn recall(&mut self, key: Key) -> Chain {
        let mut received = Chain::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Received(of, segment) if of == key => received.push(segment),
                Event::Connected(of) | Event::Sent(of, _) | Event::Eof(of) if of == key => {}
                other => self.events.push_back(other),
            }
        }
        received
    }

    fn release_all(&mut self, key: Key, unsent: Option<Box<slot::Unsent>>) {
        for (_, token) in unsent.into_iter().flat_map(|unsent| unsent.tokens) {
            self.release(key, Some(token));
        }
    }
}

impl<K: Kernel, S: SendPath<K>> Driver for Epoll<K, S> {
    type Socket = Socket;

    fn caps(&self) -> Caps {
        Caps {
            receive_is_scarce: false,
            releases_late: S::LENDS,
            largest_batch: self.kernel.batch(),
            must_poll: false,
            half_close: true,
            send_memory_from: None,
        }
    }

    fn pool(&self) -> &BlockPool {
        &self.pool
    }

    fn bell(&self) -> Box<dyn Bell> {
        Box::new(self.bell.clone())
    }

    fn system_calls(&self) -> Arc<SystemCalls> {
        Arc::clone(&self.calls)
    }

    fn peer(socket: &Socket) -> Address {
        Address::clone(&socket.peer)
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        let (fd, bound) = sys::listen(address, share)?;
        self.add(key, Slot::new(fd, Kind::Listener, None))?;
        Ok(bound)
    }

    fn from_fd(fd: OwnedFd, peer: Address) -> Option<Socket> {
        Some(Socket { fd, peer: Box::new(peer) })
    }

    fn into_fd(socket: Socket) -> Option<OwnedFd> {
        Some(socket.fd)
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        self.calls.other.add(2);
        let (fd, connected) = self.kernel.connect(address, local)?;
        let kind = if connected { Kind::Connection } else { Kind::Connecting };
        self.add(key, Slot::new(fd, kind, Some(Box::new(address.clone()))))?;
        if connected {
            self.events.push_back(Event::Connected(key));
        }
        Ok(())
    }

    fn attach(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        self.add(key, Slot::new(socket.fd, Kind::Connection, Some(socket.peer)))
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Socket>> {
        let slot = self.slots.get_mut(key)?;
        if slot.failed {
            return None;
        }
        if slot.watched.is_some() {
            self.calls.control.add(1);
            // A descriptor that the kernel goes on to report is not given away: the connection ends instead.
            if let Err(error) = self.kernel.unwatch(slot.fd()) {
                self.fail(key, error);
                return None;
            }
            slot.watched = None;
        }
        let mut unsent = self.slots.get_mut(key)?.unsent.take();
        let chain = unsent.as_mut().map(|unsent| std::mem::take(&mut unsent.chain)).unwrap_or_default();
        self.release_all(key, unsent);
        self.tell_ahead_of(key);
        let slot = self.slots.remove(key)?;
        self.kernel.forget(&self.calls, slot.fd());
        if S::LENDS && self.path.is_lent(&slot.line) {
            let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
            self.path.detach(tools, slot.line, slot.fd.as_fd());
        }
        let peer = slot.peer.unwrap_or_else(|| Box::new(Address::Unix(Default::default())));
        let received = self.recall(key);
        Some(Detached { socket: Socket { fd: slot.fd, peer }, received, unsent: chain })
    }

    fn receive(&mut self, key: Key, on: bool) {
        if let Some(slot) = self.slots.get_mut(key)
            && slot.receiving != on
        {
            slot.receiving = on;
            slot.dead &= !on;
            if on && self.options.trigger == Trigger::Edge && slot.kind != Kind::Listener {
                // An edge that came while nobody received will not come again. (Listeners are level-triggered.)
                self.carried.push(key);
            }
            self.mark_stale(key);
        }
    }

    fn want(&mut self, key: Key, bytes: usize) {
        if let Some(slot) = self.slots.get_mut(key)
            && slot.block.is_none()
        {
            slot.wanted = bytes;
        }
    }

    fn alloc_send(&mut self, _key: Key, bytes: usize) -> Result<Tail, AllocError> {
        self.pool.allocate(bytes)
    }

    #[inline]
    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        self.send_now(key, chain, released)
    }

    #[inline]
    fn send_bytes(&mut self, key: Key, bytes: &[u8]) -> usize {
        self.send_bytes_now(key, bytes)
    }

    #[inline]
    fn reuse(&mut self, _key: Key, spent: Spent) {
        if let Some(block) = &mut self.block {
            block.take_back(spent);
        }
    }

    fn shutdown(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.shutdown = true;
            self.flush(key);
        }
    }

    fn close(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let unsent = slot.unsent.take();
        self.release_all(key, unsent);
        let Some(slot) = self.slots.remove(key) else { return };
        self.calls.other.add(1);
        self.kernel.forget(&self.calls, slot.fd());
        if S::LENDS && self.path.is_lent(&slot.line) {
            let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
            self.path.close(tools, slot.line, key, slot.fd);
        } else {
            sys::close(slot.fd);
        }
        self.events.push_back(Event::Closed(key));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        debug_assert!(self.batch.at >= self.batch.ready.len(), "the batch before was worked off");
        self.feed_starved();
        self.send_before_wait();
        self.update_watches();
        let most = self.tend_path();
        let timeout = most.map_or(timeout, |most| Some(timeout.map_or(most, |timeout| timeout.min(most))));
        let timeout = if self.is_busy() { 0 } else { timeout.map_or(-1, to_milliseconds) };
        self.calls.wait.add(1);
        let used = self.kernel.wait(&mut self.batch.ready, timeout)?;
        self.batch.resize(used);
        self.batch.at = 0;
        // The end may have been reported together with bytes that were left: it is looked for behind them.
        let readiness = Readiness::RECEIVE.and(Readiness::END);
        let carried = self.carried.drain(..).map(|key| Ready::new(key.to_word(), readiness));
        self.batch.ready.extend(carried);
        self.receive_ahead();
        Ok(())
    }

    fn arm(&mut self) -> Option<Duration> {
        // What is watched was brought up to date by the wait before, and nothing was done since.
        let most = self.tend_path();
        let told = self.batch.is_done() && !self.is_busy();
        if told { most } else { Some(Duration::ZERO) }
    }

    fn now(&self) -> Instant {
        self.kernel.now()
    }

    #[inline]
    fn next(&mut self) -> Option<Event<Socket>> {
        loop {
            if !self.events.is_empty() {
                return self.events.pop_front();
            }
            if let Some(current) = self.batch.current.take() {
                if let Some(event) = self.receive_from(current) {
                    return Some(event);
                }
            } else if !self.advance() && !self.end_batch() {
                return None;
            }
        }
    }
}

impl<K: Kernel, S: SendPath<K>> AsFd for Epoll<K, S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

/// Rounds up: a timer must not be early. The kernel takes at most `i32::MAX`, which is over three weeks.
pub(super) fn to_milliseconds(timeout: Duration) -> i32 {
    let round_up = timeout.saturating_add(Duration::from_nanos(999_999)).as_millis();
    i32::try_from(round_up).unwrap_or(i32::MAX)
}
