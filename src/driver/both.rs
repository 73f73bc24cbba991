//! Two drivers in one loop, such as TCP and shared memory. To the loop they are one driver.
//!
//! * **Who gets what.** Addresses are routed by a rule given at construction: listening and connecting go to the
//!   [`Side`] that it says. A socket knows its side. A key belongs to the side that took it in, until that side has
//!   closed it or given it up; a key that belongs to nobody goes to the first, which does not know it either.
//! * **One bell**, the first driver's. The other one's memory may ring its own; both end a sleep.
//! * **Fair.** [`next`](Driver::next) asks the two in turn. One that has answered `None` is not asked again before the
//!   next wait, as every driver may expect.
//!
//! # Sleeping
//!
//! ```text
//!   look at the first, look at the second          no more than two drivers cost that have a loop each
//!   only a look was asked for? --------------------------------------------------> done
//!   arm the first, arm the second                  one has something to tell? ----> done
//!   sleep on both descriptors                      one system call more (epoll_wait on two epoll instances)
//!   look again at those that may have something to tell; sleep on if it was only time for a look
//! ```
//!
//! A loop that has work never comes to the sleep, and never pays for it. Nothing is lost between look and sleep: what
//! comes after [`arm`](Driver::arm) makes its driver's descriptor readable, and stays there until it was looked at; what
//! came before, `arm` has seen.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::epoll::to_milliseconds;
use super::{Caps, Detached, Driver, Event, Key, KeyTable, SystemCalls, Token};
use crate::buffer::{AllocError, BlockPool, Chain, PoolUsage, Spent, Tail};
use crate::net::Address;
use crate::sync::{Arc, Bell};
use crate::sys::{self, Interest, Ready};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first driver.
    First,
    /// The second driver.
    Second,
}

impl Side {
    /// Both of them.
    const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The one that the other is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// TCP goes to the first driver, Unix sockets to the second.
    #[must_use]
    pub const fn by_family(address: &Address) -> Self {
        match address {
            Address::Tcp(_) => Self::First,
            Address::Unix(_) => Self::Second,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// A socket of either driver.
#[derive(Debug)]
pub enum BothSocket<A, B> {
    /// The first driver's.
    First(A),
    /// The second driver's.
    Second(B),
}

/// Two drivers as one.
pub struct Both<A: Driver, B: Driver> {
    first: A,
    second: B,
    route: Box<dyn Fn(&Address) -> Side>,
    sides: KeyTable<Side>,
    /// Watches the descriptors of both.
    gate: sys::Epoll,
    ready: Vec<Ready>,
    /// Which one is asked next, and which of them have ended their batch.
    turn: Side,
    ended: [bool; 2],
    /// The sum of the calls of each, and of the sleeps on both.
    calls: Arc<SystemCalls>,
    of_each: [Arc<SystemCalls>; 2],
    sleeps: u64,
}

/// Calls the driver of a side.
macro_rules! of {
    ($self:ident, $side:expr, $driver:ident => $call:expr) => {
        match $side {
            Side::First => {
                let $driver = &mut $self.first;
                $call
            }
            Side::Second => {
                let $driver = &mut $self.second;
                $call
            }
        }
    };
}

impl<A: Driver, B: Driver> Both<A, B> {
    /// Puts two drivers together. `route` says who listens at an address, and who connects to it; for one address it
    /// must not change its mind.
    ///
    /// # Errors
    /// As epoll_create1(2) and epoll_ctl(2), on the drivers' descriptors.
    pub fn new(first: A, second: B, route: impl Fn(&Address) -> Side + 'static) -> io::Result<Self> {
        let gate = sys::Epoll::new()?;
        let interest = Interest { receive: true, send: false, edge: false };
        gate.add(first.as_fd(), Side::First as u64, interest)?;
        gate.add(second.as_fd(), Side::Second as u64, interest)?;
        let of_each = [first.system_calls(), second.system_calls()];
        Ok(Self {
            first,
            second,
            route: Box::new(route),
            sides: KeyTable::default(),
            gate,
            ready: Vec::with_capacity(Side::ALL.len()),
            turn: Side::First,
            ended: [false; 2],
            calls: Arc::default(),
            of_each,
            sleeps: 0,
        })
    }

    /// The first driver.
    pub fn first(&mut self) -> &mut A {
        &mut self.first
    }

    /// The second driver.
    pub fn second(&mut self) -> &mut B {
        &mut self.second
    }

    /// Whose a key is. What is nobody's goes to the first driver, which does not know it either, and does with it what
    /// is done with unknown keys.
    #[inline]
    fn side(&self, key: Key) -> Side {
        self.sides.get(key).copied().unwrap_or(Side::First)
    }

    fn look(&mut self, side: Side) -> io::Result<()> {
        of!(self, side, driver => driver.wait(Some(Duration::ZERO)))
    }

    /// Sleeps on both descriptors, unless one has something to tell, and looks at those that may have after it. One that
    /// has set a limit is looked at whenever that is over; the sleep goes on if it had nothing.
    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut limits = [None; 2];
            for side in Side::ALL {
                let limit = of!(self, side, driver => driver.arm());
                if limit == Some(Duration::ZERO) {
                    return Ok(());
                }
                limits[side.index()] = limit;
            }
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            let limit = limits.into_iter().chain([rest]).flatten().min();
            self.sleeps += 1;
            self.gate.wait(&mut self.ready, limit.map_or(-1, to_milliseconds))?;
            for side in Side::ALL {
                let heard = self.ready.iter().any(|ready| ready.token() == side as u64);
                if heard || limits[side.index()].is_some() {
                    self.look(side)?;
                }
            }
            let is_over = end.is_some_and(|end| end <= Instant::now());
            if !self.ready.is_empty() || is_over || limits == [None; 2] {
                return Ok(());
            }
        }
    }

    /// Brings the sum of all system calls up to date.
    fn sum_up(&self) {
        let sum = self.of_each.iter().map(|calls| calls.snapshot()).sum();
        let SystemCalls { wait, receive, send, accept, control, other } = sum;
        self.calls.wait.set(wait + self.sleeps);
        self.calls.receive.set(receive);
        self.calls.send.set(send);
        self.calls.accept.set(accept);
        self.calls.control.set(control);
        self.calls.other.set(other);
    }
}

impl<A: Driver, B: Driver> Driver for Both<A, B> {
    type Socket = BothSocket<A::Socket, B::Socket>;

    /// What one of them needs, both are given; what only one of them can do is not relied on.
    fn caps(&self) -> Caps {
        let (first, second) = (self.first.caps(), self.second.caps());
        Caps {
            receive_is_scarce: first.receive_is_scarce | second.receive_is_scarce,
            releases_late: first.releases_late | second.releases_late,
            largest_batch: first.largest_batch.min(second.largest_batch),
            must_poll: first.must_poll | second.must_poll,
            half_close: first.half_close & second.half_close,
            send_memory_from: [first, second].iter().filter_map(|caps| caps.send_memory_from).min(),
        }
    }

    /// The first driver's. What the second one receives lies in its own.
    fn pool(&self) -> &BlockPool {
        self.first.pool()
    }

    fn usage(&self) -> PoolUsage {
        let (first, second) = (self.first.usage(), self.second.usage());
        PoolUsage {
            mapped: first.mapped + second.mapped,
            free: first.free + second.free,
            limit: first.limit.saturating_add(second.limit),
        }
    }

    fn watch_memory(&self) {
        self.first.watch_memory();
        self.second.watch_memory();
    }

    fn bell(&self) -> Box<dyn Bell> {
        self.first.bell()
    }

    /// Those of both, and the sleeps on both. Brought up to date by each wait, and at the end of each batch.
    fn system_calls(&self) -> Arc<SystemCalls> {
        Arc::clone(&self.calls)
    }

    fn peer(socket: &Self::Socket) -> Address {
        match socket {
            BothSocket::First(socket) => A::peer(socket),
            BothSocket::Second(socket) => B::peer(socket),
        }
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        let side = (self.route)(address);
        let bound = of!(self, side, driver => driver.listen(key, address, share))?;
        self.sides.insert(key, side);
        Ok(bound)
    }

    /// Descriptors become sockets of the first driver.
    fn from_fd(fd: OwnedFd, peer: Address) -> Option<Self::Socket> {
        A::from_fd(fd, peer).map(BothSocket::First)
    }

    fn into_fd(socket: Self::Socket) -> Option<OwnedFd> {
        match socket {
            BothSocket::First(socket) => A::into_fd(socket),
            BothSocket::Second(socket) => B::into_fd(socket),
        }
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        let side = (self.route)(address);
        of!(self, side, driver => driver.connect(key, address, local))?;
        self.sides.insert(key, side);
        Ok(())
    }

    fn attach(&mut self, key: Key, socket: Self::Socket) -> io::Result<()> {
        let side = match socket {
            BothSocket::First(socket) => {
                self.first.attach(key, socket)?;
                Side::First
            }
            BothSocket::Second(socket) => {
                self.second.attach(key, socket)?;
                Side::Second
            }
        };
        self.sides.insert(key, side);
        Ok(())
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Self::Socket>> {
        let detached = match self.side(key) {
            Side::First => self.first.detach(key)?.map_socket(BothSocket::First),
            Side::Second => self.second.detach(key)?.map_socket(BothSocket::Second),
        };
        self.sides.remove(key);
        Some(detached)
    }

    fn receive(&mut self, key: Key, on: bool) {
        of!(self, self.side(key), driver => driver.receive(key, on));
    }

    fn want(&mut self, key: Key, bytes: usize) {
        of!(self, self.side(key), driver => driver.want(key, bytes));
    }

    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        of!(self, self.side(key), driver => driver.alloc_send(key, bytes))
    }

    #[inline]
    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        of!(self, self.side(key), driver => driver.send(key, chain, released))
    }

    #[inline]
    fn send_bytes(&mut self, key: Key, bytes: &[u8]) -> usize {
        of!(self, self.side(key), driver => driver.send_bytes(key, bytes))
    }

    #[inline]
    fn reuse(&mut self, key: Key, spent: Spent) {
        of!(self, self.side(key), driver => driver.reuse(key, spent));
    }

    fn shutdown(&mut self, key: Key) {
        of!(self, self.side(key), driver => driver.shutdown(key));
    }

    fn leave(&mut self, key: Key) -> bool {
        of!(self, self.side(key), driver => driver.leave(key))
    }

    fn close(&mut self, key: Key) {
        of!(self, self.side(key), driver => driver.close(key));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ended = [false; 2];
        self.first.wait(Some(Duration::ZERO))?;
        self.second.wait(Some(Duration::ZERO))?;
        if timeout != Some(Duration::ZERO) {
            self.sleep(timeout)?;
        }
        self.sum_up();
        Ok(())
    }

    fn arm(&mut self) -> Option<Duration> {
        let first = self.first.arm();
        if first == Some(Duration::ZERO) {
            return first;
        }
        [first, self.second.arm()].into_iter().flatten().min()
    }

    fn now(&self) -> Instant {
        self.first.now()
    }

    #[inline]
    fn next(&mut self) -> Option<Event<Self::Socket>> {
        for side in [self.turn, self.turn.other()] {
            if self.ended[side.index()] {
                continue;
            }
            let event = match side {
                Side::First => self.first.next().map(|event| event.map_socket(BothSocket::First)),
                Side::Second => self.second.next().map(|event| event.map_socket(BothSocket::Second)),
            };
            let Some(event) = event else {
                self.ended[side.index()] = true;
                continue;
            };
            if let Event::Closed(key) = event {
                self.sides.remove(key);
            }
            self.turn = side.other();
            return Some(event);
        }
        self.sum_up();
        None
    }
}

impl<A: Driver, B: Driver> AsFd for Both<A, B> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gate.as_fd()
    }
}

impl<A: Driver, B: Driver> fmt::Debug for Both<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Both").field("keys", &self.sides.len()).finish_non_exhaustive()
    }
}
