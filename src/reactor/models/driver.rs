//! A driver without a kernel.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use crate::buffer::{AllocError, BlockPool, Chain, PoolOptions, Tail};
use crate::driver::{self, Caps, Detached, Event, Key, KeyTable, SystemCalls, Token};
use crate::net::Address;
use crate::sync::{Arc, AtomicUsize, Bell, FakeBell, Ordering, Track};

/// Where everybody listens and everybody comes from.
pub(super) fn nowhere() -> Address {
    Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

/// What becomes of a socket.
pub(super) struct Fate(Arc<Tally>);

struct Tally {
    attached: AtomicUsize,
    dropped: AtomicUsize,
}

impl Fate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Tally { attached: AtomicUsize::new(0), dropped: AtomicUsize::new(0) }))
    }

    /// The socket whose fate this is.
    pub(super) fn socket(&self) -> Socket {
        Socket { tally: Arc::clone(&self.0), _fd: None, _tracked: Track::new(()) }
    }

    /// How often the socket was taken in, and how often it was dropped. To be asked when all threads have ended.
    pub(super) fn attached_and_dropped(&self) -> (usize, usize) {
        // ORDERING: Relaxed: the threads have ended.
        (self.0.attached.load(Ordering::Relaxed), self.0.dropped.load(Ordering::Relaxed))
    }
}

/// A socket that the model checker tracks, and whose end is counted.
pub(super) struct Socket {
    tally: Arc<Tally>,
    /// Where it was brought as a descriptor.
    _fd: Option<OwnedFd>,
    _tracked: Track<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // ORDERING: Relaxed: the models must not get an edge from the count.
        self.tally.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// What ends a sleep.
pub(super) struct Kernel {
    bell: FakeBell,
    rings: AtomicUsize,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self { bell: FakeBell::new(), rings: AtomicUsize::new(0) }
    }

    /// How often the bell was rung. To be asked when all threads that ring have ended.
    pub(super) fn rings(&self) -> usize {
        // ORDERING: Relaxed: the threads have ended.
        self.rings.load(Ordering::Relaxed)
    }
}

struct Handle(Arc<Kernel>);

impl Bell for Handle {
    fn ring(&self) {
        // ORDERING: Relaxed: the models must not get an edge from the count.
        self.0.rings.fetch_add(1, Ordering::Relaxed);
        self.0.bell.ring();
    }
}

/// Connections that carry no bytes.
///
/// MODEL: sleeps have no limit. A peer ends its direction as soon as we have ended ours. What a call leads to is
/// reported after the next wait, the latest time that the seam allows, so that the loop must come by its sleep in
/// between.
pub(super) struct Driver {
    kernel: Arc<Kernel>,
    pool: BlockPool,
    /// A socket; or none, for a listener and a dial.
    pub(super) slots: KeyTable<Option<Socket>>,
    /// Connections that have come about so far: sockets taken in, and dials that were answered.
    pub(super) attached: usize,
    /// Nobody answers a dial.
    pub(super) silent: bool,
    /// Peers send back what they are sent.
    pub(super) echoes: bool,
    /// Reported in this batch, and in the next.
    events: VecDeque<Event<Socket>>,
    coming: VecDeque<Event<Socket>>,
}

impl Driver {
    pub(super) fn new(kernel: Arc<Kernel>) -> Self {
        Self {
            kernel,
            pool: BlockPool::new(PoolOptions::default()),
            slots: KeyTable::default(),
            attached: 0,
            silent: false,
            echoes: false,
            events: VecDeque::new(),
            coming: VecDeque::new(),
        }
    }

    /// A listener has accepted `socket`.
    pub(super) fn accept(&mut self, socket: Socket) {
        self.coming.push_back(Event::Incoming(Key::new(0, 1), socket));
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        static NULL: OnceLock<File> = OnceLock::new();
        NULL.get_or_init(|| File::open("/dev/null").expect("every system has one")).as_fd()
    }
}

impl driver::Driver for Driver {
    type Socket = Socket;

    fn caps(&self) -> Caps {
        Caps {
            receive_is_scarce: false,
            releases_late: false,
            largest_batch: 1,
            must_poll: false,
            half_close: true,
            send_memory_from: None,
        }
    }

    fn pool(&self) -> &BlockPool {
        &self.pool
    }

    fn bell(&self) -> Box<dyn Bell> {
        Box::new(Handle(Arc::clone(&self.kernel)))
    }

    fn system_calls(&self) -> Arc<SystemCalls> {
        Arc::default()
    }

    fn peer(_socket: &Socket) -> Address {
        nowhere()
    }

    fn listen(&mut self, key: Key, address: &Address, _share: bool) -> io::Result<Address> {
        self.slots.insert(key, None);
        Ok(address.clone())
    }

    fn from_fd(fd: OwnedFd, _peer: Address) -> Option<Socket> {
        let Fate(tally) = Fate::new();
        Some(Socket { tally, _fd: Some(fd), _tracked: Track::new(()) })
    }

    fn into_fd(_socket: Socket) -> Option<OwnedFd> {
        None
    }

    fn connect(&mut self, key: Key, _address: &Address, _local: Option<SocketAddr>) -> io::Result<()> {
        self.slots.insert(key, None);
        if !self.silent {
            self.coming.push_back(Event::Connected(key));
        }
        Ok(())
    }

    fn attach(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        // ORDERING: Relaxed: read when all threads have ended.
        socket.tally.attached.fetch_add(1, Ordering::Relaxed);
        self.attached += 1;
        self.slots.insert(key, Some(socket));
        Ok(())
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Socket>> {
        let socket = self.slots.remove(key)??;
        Some(Detached { socket, received: Chain::new(), unsent: Chain::new() })
    }

    fn receive(&mut self, _key: Key, _on: bool) {}

    fn want(&mut self, _key: Key, _bytes: usize) {}

    fn alloc_send(&mut self, _key: Key, bytes: usize) -> Result<Tail, AllocError> {
        self.pool.allocate(bytes)
    }

    fn send(&mut self, key: Key, mut chain: Chain, _released: Option<Token>) -> usize {
        self.coming.push_back(Event::Sent(key, chain.len()));
        while let Some(segment) = chain.pop().filter(|_| self.echoes) {
            self.coming.push_back(Event::Received(key, segment));
        }
        0
    }

    fn shutdown(&mut self, key: Key) {
        self.coming.push_back(Event::Eof(key));
    }

    fn close(&mut self, key: Key) {
        if self.slots.remove(key).is_some() {
            self.coming.push_back(Event::Closed(key));
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.coming.is_empty() && timeout != Some(Duration::ZERO) {
            self.kernel.bell.wait();
        }
        self.events.append(&mut self.coming);
        Ok(())
    }

    fn arm(&mut self) -> Option<Duration> {
        // Nothing that ends a sleep of this driver can be seen by another one.
        Some(Duration::ZERO)
    }

    fn next(&mut self) -> Option<Event<Socket>> {
        let event = self.events.pop_front();
        if let Some(Event::Connected(key)) = event {
            self.attached += usize::from(self.slots.get(key).is_some());
        }
        event
    }
}
