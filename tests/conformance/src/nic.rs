//! A driver like those that bypass the kernel: it has few buffers to receive into, must be polled, serves many
//! connections at once, and gives sent memory back late. It is played, over sockets and an ordinary driver, which stand
//! for the card and the network.
//!
//! * Bytes lie on the card until there is a buffer for them. What is held of buffers is taken away from all connections.
//! * A sleep is ended by the bell and by time, never by bytes.
//! * `Released` comes some batches after the memory could have been released.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use linkpoll::buffer::{AllocError, BlockPool, Chain, PoolOptions, Segment, Tail};
use linkpoll::driver::epoll::{Epoll, Socket};
use linkpoll::driver::system::EventBell;
use linkpoll::driver::{Caps, Detached, Driver, Event, Key, SystemCalls, Token};
use linkpoll::net::Address;
use linkpoll::sync::{Arc, Bell};
use nix::sys::epoll::{Epoll as Poller, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{Batched, BatchedBed, SocketBed};

/// The bytes of a buffer.
pub const BUFFER: usize = 4 << 10;
/// Batches for which `Released` is held back.
const LATE: u64 = 3;
/// Who sleeps elsewhere must look again after so long.
const POLL: Duration = Duration::from_millis(1);

/// What lies on the card.
#[derive(Debug)]
enum Arrived {
    Bytes(Segment),
    End,
}

/// The driver; see the module's documentation.
#[derive(Debug)]
pub struct FakeNic {
    inner: Epoll<Batched>,
    buffers: BlockPool,
    /// What has arrived and was not told, in the order of arrival.
    card: VecDeque<(Key, Arrived)>,
    /// Connections that are not received from, as the caller wants it, and because enough of them lies on the card.
    paused: BTreeSet<Key>,
    held: BTreeSet<Key>,
    late: VecDeque<(u64, Event<Socket>)>,
    batch: u64,
    bell: EventBell,
    sleep: Poller,
    /// The last wait was ended by the bell.
    rung: bool,
}

impl FakeNic {
    /// A card with so many buffers, over a driver that stands for the network.
    ///
    /// # Panics
    /// When there are no descriptors.
    #[must_use]
    pub fn new(inner: Epoll<Batched>, buffers: usize) -> Self {
        let bell = EventBell::new().expect("a descriptor");
        let sleep = Poller::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("a descriptor");
        sleep
            .add(&bell, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))
            .expect("a bell can be watched");
        // The pool maps its blocks by slabs, so its limit says little: the buffers in use are counted below.
        let limit = (buffers * BUFFER).max(256 << 10);
        let buffers = BlockPool::new(PoolOptions { limit, bell: Some(Box::new(bell.clone())) });
        Self {
            inner,
            buffers,
            card: VecDeque::new(),
            paused: BTreeSet::new(),
            held: BTreeSet::new(),
            late: VecDeque::new(),
            batch: 0,
            bell,
            sleep,
            rung: false,
        }
    }

    /// The place on the card of the first thing that may be told.
    fn first(&self) -> Option<usize> {
        self.card.iter().position(|(key, _)| !self.paused.contains(key))
    }

    /// Tells the first thing that may be told and can be: bytes need a buffer.
    fn tell(&mut self) -> Option<Event<Socket>> {
        let at = self.first()?;
        let (key, arrived) = &mut self.card[at];
        let key = *key;
        match arrived {
            Arrived::End => {
                self.card.remove(at);
                Some(Event::Eof(key))
            }
            Arrived::Bytes(bytes) => {
                let mut buffer = self.buffers.allocate(BUFFER).ok()?;
                let part = bytes.split_to(bytes.len().min(BUFFER));
                buffer.spare()[..part.len()].copy_from_slice(&part);
                let told = buffer.commit(part.len());
                if bytes.is_empty() {
                    self.card.remove(at);
                }
                Some(Event::Received(key, told))
            }
        }
    }

    /// Whether the next call of `next` tells something without asking the network.
    fn is_busy(&self) -> bool {
        let late = self.late.front().is_some_and(|(due, _)| *due <= self.batch);
        let card = self.first().is_some_and(|at| match self.card[at].1 {
            Arrived::End => true,
            Arrived::Bytes(_) => self.buffers.allocate(BUFFER).is_ok(),
        });
        late || card
    }

    /// Takes what lies on the card for a connection.
    fn sweep(&mut self, key: Key) -> Chain {
        let mut bytes = Chain::new();
        self.card.retain(|(of, arrived)| {
            if let Arrived::Bytes(segment) = arrived
                && *of == key
            {
                bytes.push(segment.clone());
            }
            *of != key
        });
        self.held.remove(&key);
        self.paused.remove(&key);
        bytes
    }
}

impl Driver for FakeNic {
    type Socket = Socket;

    fn caps(&self) -> Caps {
        Caps { receive_is_scarce: true, releases_late: true, must_poll: true, ..self.inner.caps() }
    }

    fn pool(&self) -> &BlockPool {
        self.inner.pool()
    }

    fn bell(&self) -> Box<dyn Bell> {
        Box::new(self.bell.clone())
    }

    fn system_calls(&self) -> Arc<SystemCalls> {
        self.inner.system_calls()
    }

    fn peer(socket: &Socket) -> Address {
        Epoll::<Batched>::peer(socket)
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        self.inner.listen(key, address, share)
    }

    fn from_fd(fd: OwnedFd, peer: Address) -> Option<Socket> {
        Epoll::<Batched>::from_fd(fd, peer)
    }

    fn into_fd(socket: Socket) -> Option<OwnedFd> {
        Epoll::<Batched>::into_fd(socket)
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        self.inner.connect(key, address, local)
    }

    fn attach(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        self.inner.attach(key, socket)
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Socket>> {
        let mut detached = self.inner.detach(key)?;
        let mut received = self.sweep(key);
        received.append(detached.received);
        detached.received = received;
        Some(detached)
    }

    fn receive(&mut self, key: Key, on: bool) {
        if on {
            self.paused.remove(&key);
        } else {
            self.paused.insert(key);
        }
        if !self.held.contains(&key) {
            self.inner.receive(key, on);
        }
    }

    /// There is no other memory to receive into.
    fn want(&mut self, _key: Key, _bytes: usize) {}

    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        self.inner.alloc_send(key, bytes)
    }

    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        self.inner.send(key, chain, released)
    }

    fn shutdown(&mut self, key: Key) {
        self.inner.shutdown(key);
    }

    fn close(&mut self, key: Key) {
        self.sweep(key);
        self.inner.close(key);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.batch += 1;
        let (card, paused, inner) = (&self.card, &self.paused, &mut self.inner);
        self.held.retain(|key| {
            let held = card.iter().any(|(of, _)| of == key);
            if !held {
                inner.receive(*key, !paused.contains(key));
            }
            held
        });
        self.inner.wait(Some(Duration::ZERO))?;
        let busy = self.is_busy() || self.inner.arm() == Some(Duration::ZERO);
        // Released memory that is due with one of the next batches is waited for.
        let timeout = match timeout {
            _ if busy => Some(Duration::ZERO),
            timeout if self.late.is_empty() => timeout,
            timeout => Some(timeout.map_or(POLL, |timeout| timeout.min(POLL))),
        };
        // Rounded up: who waits for a time must not be early.
        let limit = timeout.map(|timeout| timeout.saturating_add(Duration::from_nanos(999_999)).as_millis());
        let limit = limit
            .map_or(EpollTimeout::NONE, |limit| EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX));
        let slept = self.sleep.wait(&mut [EpollEvent::empty()], limit);
        self.rung = slept.is_ok_and(|heard| heard > 0);
        if timeout != Some(Duration::ZERO) {
            self.inner.wait(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    fn arm(&mut self) -> Option<Duration> {
        let busy = self.rung || self.is_busy() || self.inner.arm() == Some(Duration::ZERO);
        Some(if busy { Duration::ZERO } else { POLL })
    }

    fn next(&mut self) -> Option<Event<Socket>> {
        if self.late.front().is_some_and(|(due, _)| *due <= self.batch) {
            return self.late.pop_front().map(|(_, event)| event);
        }
        loop {
            if let Some(event) = self.tell() {
                return Some(event);
            }
            match self.inner.next()? {
                Event::Received(key, bytes) => {
                    self.card.push_back((key, Arrived::Bytes(bytes)));
                    if self.held.insert(key) {
                        self.inner.receive(key, false);
                    }
                }
                Event::Eof(key) => self.card.push_back((key, Arrived::End)),
                Event::Error(key, error) => {
                    self.sweep(key);
                    return Some(Event::Error(key, error));
                }
                event @ Event::Released(..) => self.late.push_back((self.batch + LATE, event)),
                event => return Some(event),
            }
        }
    }
}

impl AsFd for FakeNic {
    /// Tells of the bell alone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleep.0.as_fd()
    }
}

/// Cards.
#[derive(Clone, Copy, Debug)]
pub struct NicBed(pub BatchedBed);

impl SocketBed for NicBed {
    type Driver = FakeNic;

    fn driver(&self, memory: usize) -> FakeNic {
        FakeNic::new(self.0.driver(memory), memory / 4 / BUFFER)
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        self.0.socket(fd, peer)
    }
}
