#![doc = include_str!("README.md")]
//!
//! # How the parts fit together
//!
//! ```text
//!   wait    buffers provided      buffers.rs        next    early arrivals       receive.rs
//!           entries in line       operations.rs             completions, one at a time:
//!           sends submitted       send.rs                     incoming           receive.rs
//!           one enter             ring.rs, sys/               outgoing, loans    send.rs
//!           completions reaped                                cancellations      operations.rs
//!           ends settled          ending.rs
//! ```
//!
//! Operations are queued in `wait` and nowhere else (a detach apart, which cannot wait for it), so what is switched off
//! and on again within a turn costs nothing. The completions of one `enter` are taken out at once, and worked off by
//! `next`.

mod buffers;
mod ending;
mod entry;
mod operations;
mod receive;
mod ring;
mod send;
mod sys;
mod table;
mod tag;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use linkpoll::buffer::{AllocError, BlockPool, Chain, PoolOptions, Tail};
use linkpoll::driver::epoll::Socket;
use linkpoll::driver::system::{self, EventBell};
use linkpoll::driver::{Caps, Detached, Driver, Event, Key, KeyTable, SystemCalls, Token};
use linkpoll::net::Address;
use linkpoll::sync::{Arc, Bell};

use crate::LentMemory;
use buffers::Buffers;
use entry::{Entry, Kind};
pub use ring::{Completion, MOST_PIECES, Operation, Ring, Sleep};
use send::Loan;
pub use sys::KernelRing;
use table::Table;
use tag::Id;
pub use tag::Tag;

/// Far from where the kernel's clock would overflow. A wait may end early.
const LONGEST_SLEEP: Duration = Duration::from_secs(1 << 25);

/// Where the kernel does not tell that there are completions, a sleep elsewhere is as short as this.
const UNARMED_SLEEP: Duration = Duration::from_millis(1);

/// How a uring driver behaves.
#[derive(Clone, Copy, Debug)]
pub struct UringOptions {
    /// The most bytes of pooled memory, for receiving and sending, at least 256 KiB. Default: 1 GiB.
    pub memory: usize,
    /// Entries of the submission queue. With more operations in a turn the kernel is entered once more. Default: 256.
    pub submissions: u32,
    /// Entries of the completion queue. What does not fit is kept by the kernel, at a price. At
    /// least as many as of the submission queue. Default: 4096.
    pub completions: u32,
    /// The most buffers that are with the kernel at a time; they take at most a quarter of the memory. Default: 64.
    pub buffers: u16,
    /// Bytes of a buffer. Default: 64 KiB.
    pub buffer_size: usize,
    /// Whether a receive ends, to be armed again behind those of others, when it has taken a quarter of the buffers. It
    /// cannot before Linux 6.17. Default: true.
    pub limit_receives: bool,
    /// A send with a piece of so many bytes lends its memory to the kernel (`SEND_ZC`), until four loans in a row on a
    /// connection were copied after all. `None`: nothing is lent. Default: 64 KiB.
    pub lend_from: Option<usize>,
    /// When a message misses so many bytes, they are received into a block of its own. `None`: every message is copied
    /// together from buffers. Default: 64 KiB.
    pub fill_from: Option<usize>,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            submissions: 256,
            completions: 4096,
            buffers: 64,
            buffer_size: 64 << 10,
            limit_receives: true,
            lend_from: Some(64 << 10),
            fill_from: Some(64 << 10),
        }
    }
}

impl UringOptions {
    /// The number of buffers, and the bytes of each.
    fn shape(&self) -> (u16, usize) {
        let size = self.buffer_size.clamp(4 << 10, 1 << 20);
        let quarter = u16::try_from(self.memory / 4 / size).unwrap_or(u16::MAX);
        (self.buffers.min(quarter.max(2)).max(1), size)
    }

    /// The bytes after which a receive ends; 0 for no limit.
    fn receive_limit(&self) -> usize {
        let (count, size) = self.shape();
        if self.limit_receives { usize::from(count / 4).max(1) * size } else { 0 }
    }
}

/// What a driver has seen of the rare paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UringStatistics {
    /// Receives and accepts that were queued, the first one of each connection included.
    pub arms: u64,
    /// Receives into a message's own block.
    pub fills: u64,
    /// Receives that found no buffer (`ENOBUFS`).
    pub starvations: u64,
    /// Times that completions did not fit into their queue.
    pub overflows: u64,
    /// Sends that lent their memory.
    pub loans: u64,
    /// Of these, sends whose bytes were copied after all.
    pub copied: u64,
    /// Connections whose operations did not end at once when they were closed.
    pub lingering: u64,
    /// Loans not given back yet.
    pub outstanding: u64,
    /// Entries in use, closed ones whose loans are outstanding included.
    pub entries: u64,
    /// Buffers that are with the kernel.
    pub buffers: u64,
}

/// The driver; see the module's documentation.
#[derive(Debug)]
pub struct Uring<R: Ring = KernelRing> {
    options: UringOptions,
    calls: Arc<SystemCalls>,
    statistics: UringStatistics,
    lent: Arc<LentMemory>,
    bell: EventBell,
    /// The poll of the bell is under way.
    bell_armed: bool,
    pool: BlockPool,
    keys: KeyTable<Id>,
    entries: Table<Entry>,
    loans: Table<Loan>,
    /// Events that are due without asking the kernel.
    events: VecDeque<Event<Socket>>,
    /// Completions of the last wait, and how far they are worked off.
    backlog: Vec<Completion>,
    at: usize,
    /// Entries whose operations are to be brought in line with their state.
    stale: VecDeque<Id>,
    /// Receives that may still be queued before the next wait.
    arms: usize,
    /// Of the stale entries, those that have received something since they were armed: they come last.
    fed: Vec<Id>,
    /// Entries with something to send.
    listed: Vec<Id>,
    /// Entries that wait for a buffer, the one that has waited longest first.
    starved: VecDeque<Id>,
    /// Entries that are received from again, with early arrivals.
    resumed: Vec<Id>,
    /// Closed entries whose operations have not ended.
    ending: Vec<Id>,
    // Dropped in this order: the kernel lets go of the buffers with the ring.
    ring: R,
    buffers: Buffers,
}

impl Uring {
    /// A driver on a ring of the kernel's, for the calling thread.
    ///
    /// # Errors
    /// As [`KernelRing::new`] and eventfd(2), and when `options.memory` is less than its least.
    pub fn new(options: UringOptions) -> io::Result<Self> {
        Self::with_ring(KernelRing::new(&options)?, options)
    }
}

impl<R: Ring> Uring<R> {
    /// With less pooled memory than for a few blocks to receive into, nothing could ever be received.
    const LEAST_MEMORY: usize = 256 << 10;

    /// A driver on a given ring, which may have places for fewer buffers than the options say.
    ///
    /// # Errors
    /// As eventfd(2), when `options.memory` is less than its least, and when the ring has no place for a buffer.
    pub fn with_ring(ring: R, options: UringOptions) -> io::Result<Self> {
        if options.memory < Self::LEAST_MEMORY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a driver needs 256 KiB of pooled memory",
            ));
        }
        let bell = EventBell::new()?;
        let pool = PoolOptions { limit: options.memory, bell: Some(Box::new(bell.clone())) };
        let (count, size) = options.shape();
        let count = count.min(ring.places());
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the ring has no place for a buffer"));
        }
        Ok(Self {
            options,
            calls: Arc::default(),
            statistics: UringStatistics::default(),
            lent: Arc::default(),
            bell,
            bell_armed: false,
            pool: BlockPool::new(pool),
            keys: KeyTable::default(),
            entries: Table::default(),
            loans: Table::default(),
            events: VecDeque::new(),
            backlog: Vec::new(),
            at: 0,
            stale: VecDeque::new(),
            arms: 0,
            fed: Vec::new(),
            listed: Vec::new(),
            starved: VecDeque::new(),
            resumed: Vec::new(),
            ending: Vec::new(),
            ring,
            buffers: Buffers::new(count, size),
        })
    }

    /// What it counts of memory that it lends.
    #[must_use]
    pub fn lent(&self) -> Arc<LentMemory> {
        Arc::clone(&self.lent)
    }

    /// What the driver has seen so far.
    #[must_use]
    pub fn statistics(&self) -> UringStatistics {
        UringStatistics {
            outstanding: self.loans.len() as u64,
            entries: self.entries.len() as u64,
            buffers: self.buffers.with_kernel() as u64,
            ..self.statistics
        }
    }

    /// Takes an entry in.
    fn add(&mut self, entry: Entry) -> io::Result<()> {
        let key = entry.key;
        let id = self.entries.insert(entry).ok_or_else(|| io::Error::other("too many connections"))?;
        let old = self.keys.insert(key, id);
        debug_assert!(old.is_none(), "a slot is used again only after `Closed`");
        self.mark_stale(id);
        Ok(())
    }

    /// Whether there is something to tell, or to submit, already.
    fn is_busy(&self) -> bool {
        !(self.events.is_empty()
            && self.resumed.is_empty()
            && self.at >= self.backlog.len()
            && self.stale.is_empty()
            && self.listed.is_empty()
            && self.ending.is_empty())
    }

    fn entry_of(&mut self, key: Key) -> Option<(Id, &mut Entry)> {
        let id = *self.keys.get(key)?;
        Some((id, self.entries.get_mut(id)?))
    }

    /// Ends a connection's traffic after an error.
    fn fail(&mut self, id: Id, error: io::Error) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.ending || std::mem::replace(&mut entry.failed, true) {
            return;
        }
        entry.ended = true;
        entry.early = None;
        entry.drop_block();
        self.events.push_back(Event::Error(entry.key, error));
        self.mark_stale(id);
        self.give_up_sending(id);
    }
}

impl<R: Ring> Driver for Uring<R> {
    type Socket = Socket;

    fn caps(&self) -> Caps {
        Caps {
            // Buffers are blocks of the pool, and what is held of them takes nothing away from the kernel.
            receive_is_scarce: false,
            releases_late: self.options.lend_from.is_some(),
            largest_batch: usize::try_from(self.options.submissions).unwrap_or(usize::MAX),
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
        let (fd, bound) = system::listen(address, share)?;
        self.add(Entry::new(key, fd, Kind::Listener, None))?;
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
        let (fd, connected) = system::connect(address, local)?;
        let kind = if connected { Kind::Connection } else { Kind::Connecting };
        self.add(Entry::new(key, fd, kind, Some(Box::new(address.clone()))))?;
        if connected {
            self.events.push_back(Event::Connected(key));
        }
        Ok(())
    }

    fn attach(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        self.add(Entry::new(key, socket.fd, Kind::Connection, Some(socket.peer)))
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Socket>> {
        self.detach_now(key)
    }

    fn receive(&mut self, key: Key, on: bool) {
        if let Some((id, entry)) = self.entry_of(key)
            && entry.receiving != on
        {
            entry.receiving = on;
            if on && entry.early.is_some() {
                self.resumed.push(id);
            }
            self.mark_stale(id);
        }
    }

    fn want(&mut self, key: Key, bytes: usize) {
        if let Some((id, entry)) = self.entry_of(key)
            && entry.block.is_none()
        {
            entry.wanted = bytes;
            self.fill_if_large(id);
        }
    }

    fn alloc_send(&mut self, _key: Key, bytes: usize) -> Result<Tail, AllocError> {
        self.pool.allocate(bytes)
    }

    #[inline]
    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        self.send_later(key, chain, released);
        0
    }

    fn shutdown(&mut self, key: Key) {
        if let Some((id, entry)) = self.entry_of(key) {
            entry.shutdown = true;
            self.end_sending(id);
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(id) = self.keys.remove(key) {
            self.close_now(id);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // A detach after the batch may have brought some more.
        self.backlog.drain(..self.at);
        self.at = 0;
        self.prepare()?;
        let busy = self.is_busy();
        let sleep = match timeout {
            _ if busy => Sleep::Look,
            None => Sleep::Forever,
            Some(Duration::ZERO) => Sleep::Look,
            Some(limit) => Sleep::For(limit.min(LONGEST_SLEEP)),
        };
        self.enter(sleep)?;
        self.reap()?;
        if !self.ending.is_empty() {
            self.settle_endings()?;
        }
        Ok(())
    }

    fn arm(&mut self) -> Option<Duration> {
        // Everything was submitted by the wait before.
        if self.is_busy() {
            return Some(Duration::ZERO);
        }
        match self.ring.arm() {
            Ok(true) => None,
            // Whatever came before it was armed made no sound: to be looked for once more.
            Ok(false) => Some(Duration::ZERO),
            Err(_) => Some(UNARMED_SLEEP),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Event<Socket>> {
        loop {
            if !self.events.is_empty() {
                return self.events.pop_front();
            }
            if !self.resumed.is_empty()
                && let Some(event) = self.next_early()
            {
                return Some(event);
            }
            let completion = *self.backlog.get(self.at)?;
            self.at += 1;
            if let Some(event) = self.complete(completion) {
                return Some(event);
            }
        }
    }
}

impl<R: Ring> AsFd for Uring<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl<R: Ring> Drop for Uring<R> {
    fn drop(&mut self) {
        self.end_all();
    }
}
