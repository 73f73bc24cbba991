//! Shared memory as a driver: the same handlers, services and streams as over TCP.
//!
//! ```text
//!   wait   park every active session; sleep only if none has news            parking.rs, counting.rs
//!   next   what epoll reports: handshakes, doorbells, the ends of peers      handshakes.rs
//!          each active session once: send what waits, receive                sending.rs, moving.rs
//! ```
//!
//! # Active and parked
//!
//! A session is *active* when it is looked at in each turn, by one load of a word that its peer writes, and *parked* when
//! it has asked for a doorbell ([`Session::park`](crate::session::Session::park)). A loop that spins never parks anybody: its
//! turns cost no system call, but for one look at epoll in [`LOOKS`]. A loop that sleeps parks all active sessions first,
//! and one that stays parked costs nothing until its doorbell rings.
//!
//! # The end of a peer
//!
//! A peer that ends its direction and closes is an end of the stream. One that is gone without having ended it has died:
//! what it had published is received, then comes an error. A peer that breaks the protocol ends its own session.
//!
//! # Beside TCP
//!
//! A loop can have two drivers, and a server two addresses. Handlers and services cannot tell from where they are called:
//!
//! ```
//! use linkpoll::buffer::Segment;
//! use linkpoll::driver::epoll::{Epoll, EpollOptions};
//! use linkpoll::driver::{Both, Side};
//! use linkpoll::net::{Address, Loops, Server};
//! use linkpoll::service::{Client, ClientOptions, Frame, Reply, Serve};
//! use linkpoll_shm::{ShmDriver, ShmOptions};
//!
//! // Ports are epoll's, paths are those of shared memory.
//! let both = |_| {
//!     let (tcp, shm) = (Epoll::new(EpollOptions::default())?, ShmDriver::new(ShmOptions::default())?);
//!     Both::new(tcp, shm, Side::by_family)
//! };
//! let echo = Serve::function(Frame::default, |message, reply: Reply<'_, Frame>| reply.send(message));
//! let path = std::env::temp_dir().join(format!("echo-{}.sock", std::process::id()));
//! let port = Address::Tcp(([127, 0, 0, 1], 0).into());
//! let server = Server::builder().loops(1).also_at(&Address::Unix(path)).bind_with(&port, echo, both)?;
//!
//! // Clients can have both, too.
//! let loops = Loops::builder().loops(1).start_with(both)?;
//! for address in server.addresses() {
//!     let dialling = Client::dial(&loops.dialer(), [address.clone()], Frame::default(), ClientOptions::default());
//!     let reply = dialling.wait()?.call(Segment::copy_of(b"hello").into()).wait()?;
//!     assert_eq!(reply.len(), 5);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod counting;
mod entry;
mod handshakes;
mod moving;
mod options;
mod parking;
mod sending;
mod statistics;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use linkpoll::buffer::{AllocError, BlockPool, Chain, PoolOptions, Tail};
use linkpoll::driver::epoll::{Interest, Kernel as _, Linux, Ready};
use linkpoll::driver::system::{self, EventBell};
use linkpoll::driver::{Caps, Detached, Driver, Event, Key, KeyTable, SystemCalls, Token};
use linkpoll::net::Address;
use linkpoll::sync::{Arc, Bell};

use crate::handshake::Handshake;
pub use entry::ShmSocket;
use entry::{Connecting, Connection, Entry, Listener, Unsent};
use handshakes::Accepting;
pub use options::ShmOptions;
use sending::SEND_MEMORY_FROM;
use statistics::Board;
pub use statistics::{Errors, Handshakes, Statistics, StatisticsGroup};

/// The token of the bell. No slot has this number.
const BELL: u64 = u64::MAX;
/// A bit of the tokens of handshakes that are nobody's key yet.
const ACCEPTING: u64 = 1 << 31;
/// A bit of the tokens of eventfds: the key is that of their session.
const RUNG: u64 = 1 << 30;
const READ: Interest = Interest { receive: true, send: false, edge: false };
const READ_WRITE: Interest = Interest { receive: true, send: true, edge: false };
const EDGE: Interest = Interest { receive: true, send: false, edge: true };

/// Of so many turns of a spinning loop with active sessions, one asks epoll.
pub const LOOKS: u32 = 64;
/// With less pooled memory than for one block to receive into, nothing could ever be received.
const LEAST_MEMORY: usize = 256 << 10;
const MOST_READY: usize = 256;

/// The driver; see the [module's documentation](self).
pub struct ShmDriver {
    kernel: Linux,
    options: ShmOptions,
    calls: Arc<SystemCalls>,
    bell: EventBell,
    pool: BlockPool,
    /// The block that sessions are received into, and one more for what does not fit.
    block: Option<Tail>,
    spare: Option<Tail>,
    entries: KeyTable<Entry>,
    accepting: KeyTable<Accepting>,
    /// Keys with a handshake of ours, to mind their deadlines.
    connecting: Vec<Key>,
    next_handshake: u32,
    listeners_rest: bool,
    events: VecDeque<Event<ShmSocket>>,
    ready: Vec<Ready>,
    at_ready: usize,
    /// Sessions that are looked at in each turn, and how many of them were in this one.
    active: Vec<Key>,
    at_active: usize,
    starved: Vec<Key>,
    /// Turns since epoll was asked.
    turns: u32,
    /// The time goes by in looks, and none of them has found anything yet.
    spinning: bool,
    statistics: Statistics,
    board: Board,
}

impl ShmDriver {
    /// A driver on a fresh epoll instance.
    ///
    /// # Errors
    /// As epoll_create1(2) and eventfd(2); `InvalidInput` for impossible options.
    pub fn new(options: ShmOptions) -> io::Result<Self> {
        if options.memory < LEAST_MEMORY {
            let text = "a driver needs 256 KiB of pooled memory";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if options.handshakes == 0 {
            let text = "a driver needs room for a handshake";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut kernel = Linux::new()?;
        let bell = EventBell::new()?;
        kernel.watch(bell.as_fd(), BELL, EDGE)?;
        let pool = PoolOptions { limit: options.memory, bell: Some(Box::new(bell.clone())) };
        let board = options.statistics.join();
        Ok(Self {
            kernel,
            options,
            calls: Arc::default(),
            bell,
            pool: BlockPool::new(pool),
            block: None,
            spare: None,
            entries: KeyTable::default(),
            accepting: KeyTable::default(),
            connecting: Vec::new(),
            next_handshake: 0,
            listeners_rest: false,
            events: VecDeque::new(),
            ready: Vec::with_capacity(MOST_READY),
            at_ready: 0,
            active: Vec::new(),
            at_active: 0,
            starved: Vec::new(),
            turns: 0,
            spinning: false,
            statistics: Statistics::default(),
            board,
        })
    }

    fn has_handshakes(&self) -> bool {
        !self.accepting.is_empty() || !self.connecting.is_empty()
    }
}

impl Driver for ShmDriver {
    type Socket = ShmSocket;

    fn caps(&self) -> Caps {
        Caps {
            receive_is_scarce: false,
            releases_late: true,
            largest_batch: 1,
            must_poll: false,
            half_close: true,
            send_memory_from: Some(SEND_MEMORY_FROM),
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

    fn peer(socket: &ShmSocket) -> Address {
        Address::clone(&socket.peer)
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        must_be_a_path(address)?;
        let (fd, bound) = system::listen(address, share)?;
        self.calls.control.add(1);
        self.kernel.watch(fd.as_fd(), key.to_word(), READ)?;
        self.entries.insert(key, Entry::Listener(Listener { fd, receiving: true, is_watched: true }));
        Ok(bound)
    }

    fn from_fd(_fd: OwnedFd, _peer: Address) -> Option<ShmSocket> {
        None
    }

    fn into_fd(_socket: ShmSocket) -> Option<OwnedFd> {
        None
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        must_be_a_path(address)?;
        self.calls.other.add(2);
        let (fd, _) = system::connect(address, local)?;
        let handshake = Handshake::client(fd, &self.options.session, Instant::now())?;
        self.calls.control.add(1);
        self.kernel.watch(handshake.as_fd(), key.to_word(), READ)?;
        self.entries.insert(
            key,
            Entry::Connecting(Box::new(Connecting {
                handshake,
                address: address.clone(),
                receiving: true,
                unsent: Unsent::default(),
                wanted: 0,
                ending: false,
                writing: false,
            })),
        );
        self.connecting.push(key);
        self.advance_connecting(key);
        Ok(())
    }

    fn attach(&mut self, key: Key, socket: ShmSocket) -> io::Result<()> {
        socket.session.check_process()?;
        self.calls.control.add(1);
        self.kernel.watch(socket.session.watched().0, key.to_word(), READ)?;
        let mut connection = Connection::new(socket);
        connection.watched = Some(false);
        self.entries.insert(key, Entry::Connection(Box::new(connection)));
        if let Err(error) = self.watch_bell(key) {
            self.entries.remove(key);
            return Err(error);
        }
        self.count_in(key);
        self.activate(key);
        Ok(())
    }

    fn detach(&mut self, key: Key) -> Option<Detached<ShmSocket>> {
        match self.entries.get(key)? {
            Entry::Connection(connection) if !connection.failed => {}
            _ => return None,
        }
        self.count_out(key);
        self.unwatch_socket(key);
        let Some(Entry::Connection(connection)) = self.entries.remove(key) else { return None };
        self.deactivate(key);
        let received = self.recall(key);
        let Connection { session, peer, mut unsent, lent, .. } = *connection;
        let chain = std::mem::take(&mut unsent.chain);
        self.release_lent(lent);
        self.release_all(unsent);
        Some(Detached { socket: ShmSocket { session: Box::new(session), peer }, received, unsent: chain })
    }

    fn receive(&mut self, key: Key, on: bool) {
        match self.entries.get_mut(key) {
            Some(Entry::Listener(listener)) => {
                listener.receiving = on;
                self.watch_listener(key);
            }
            Some(Entry::Connecting(connecting)) => connecting.receiving = on,
            Some(Entry::Connection(connection)) if connection.receiving != on => {
                connection.receiving = on;
                // Who does not receive is told at once that a dead peer takes nothing.
                if on || connection.session.peer_is_gone() {
                    self.activate(key);
                }
            }
            _ => {}
        }
    }

    fn want(&mut self, key: Key, bytes: usize) {
        match self.entries.get_mut(key) {
            Some(Entry::Connection(connection)) if connection.block.is_none() => connection.wanted = bytes,
            Some(Entry::Connecting(connecting)) => connecting.wanted = bytes,
            _ => {}
        }
    }

    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        self.memory_for(key, bytes)
    }

    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        self.send_on(key, chain, released)
    }

    fn shutdown(&mut self, key: Key) {
        match self.entries.get_mut(key) {
            Some(Entry::Connection(connection)) if !connection.session.has_ended() => {
                connection.ending = true;
                self.end_if_due(key);
            }
            Some(Entry::Connecting(connecting)) => connecting.ending = true,
            _ => {}
        }
    }

    fn leave(&mut self, key: Key) -> bool {
        let Some(connection) = self.connection(key).filter(|it| !it.failed && !it.ended) else {
            return false;
        };
        match connection.session.leave() {
            Ok(asked) => {
                self.update_watch(key);
                asked
            }
            Err(error) => {
                self.fail(key, error);
                false
            }
        }
    }

    fn close(&mut self, key: Key) {
        match self.entries.get_mut(key) {
            None => return,
            Some(Entry::Connection(connection)) => {
                if connection.unsent.chain.is_empty() && !connection.failed {
                    // Whatever fails here fails for one who is leaving.
                    let _ = connection.session.end();
                }
                self.count_out(key);
                self.unwatch_socket(key);
            }
            Some(Entry::Listener(listener)) => {
                if listener.is_watched {
                    self.calls.control.add(1);
                    let _ = self.kernel.unwatch(listener.fd.as_fd());
                }
                self.turn_away(key);
            }
            Some(Entry::Connecting(_) | Entry::Failed) => {}
        }
        self.calls.other.add(1);
        match self.entries.remove(key) {
            Some(Entry::Connection(connection)) => {
                self.deactivate(key);
                let Connection { unsent, lent, .. } = *connection;
                self.release_lent(lent);
                self.release_all(unsent);
            }
            Some(Entry::Connecting(connecting)) => self.release_all(connecting.unsent),
            _ => {}
        }
        drop(self.recall(key));
        self.events.push_back(Event::Closed(key));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.at_active = 0;
        self.at_ready = 0;
        self.ready.clear();
        self.feed_starved();
        let mut timeout = timeout;
        if timeout == Some(Duration::ZERO) {
            if !self.spinning && !self.active.is_empty() {
                self.spinning = true;
                self.statistics.spins += 1;
            }
        } else {
            self.spinning = false;
            if !self.park_all() || !self.events.is_empty() {
                timeout = Some(Duration::ZERO);
            }
        }
        if timeout == Some(Duration::ZERO) {
            self.turns += 1;
            if self.turns < LOOKS && !self.active.is_empty() {
                return Ok(());
            }
            self.count_active();
        }
        self.turns = 0;
        self.board.show(&self.statistics);
        if self.has_handshakes()
            && let Some(deadline) = self.mind_deadlines()
        {
            let left = deadline.saturating_duration_since(Instant::now());
            timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
        }
        if !self.events.is_empty() {
            timeout = Some(Duration::ZERO);
        }
        self.calls.wait.add(1);
        self.kernel.wait(&mut self.ready, milliseconds(timeout))?;
        Ok(())
    }

    fn arm(&mut self) -> Option<Duration> {
        let told = self.events.is_empty() && self.at_ready == self.ready.len();
        if !told || !self.park_all() {
            return Some(Duration::ZERO);
        }
        self.spinning = false;
        self.board.show(&self.statistics);
        // Handshakes have deadlines, and what epoll was not asked for keeps the descriptor readable.
        let deadline = if self.has_handshakes() { self.mind_deadlines() } else { None };
        if !self.events.is_empty() {
            return Some(Duration::ZERO);
        }
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    #[inline]
    fn next(&mut self) -> Option<Event<ShmSocket>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                if std::mem::take(&mut self.spinning) {
                    self.statistics.spins_that_paid += 1;
                }
                return Some(event);
            }
            if let Some(&ready) = self.ready.get(self.at_ready) {
                self.at_ready += 1;
                self.heed(ready);
            } else if let Some(&key) = self.active.get(self.at_active) {
                self.at_active += 1;
                self.statistics.looks += 1;
                self.look_after(key);
                self.statistics.looks_that_paid += u64::from(!self.events.is_empty());
            } else {
                return None;
            }
        }
    }
}

impl AsFd for ShmDriver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

impl fmt::Debug for ShmDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShmDriver")
            .field("options", &self.options)
            .field("active", &self.active.len())
            .finish_non_exhaustive()
    }
}

fn must_be_a_path(address: &Address) -> io::Result<()> {
    match address {
        Address::Unix(_) => Ok(()),
        _ => {
            let text = "shared memory connects through the path of a Unix socket";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

/// For epoll_wait(2), rounded up: who wakes before the time is over would only sleep again.
fn milliseconds(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |timeout| i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX))
}
