//! What a suite runs on.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use linkpoll::buffer::Segment;
use linkpoll::driver::epoll::{Epoll, EpollOptions, Interest, Kernel, Linux, Ready, Socket, Trigger};
use linkpoll::driver::{Both, BothSocket, Driver, Key, Side};
use linkpoll::net::Address;

/// Makes drivers of one kind.
pub trait Bed {
    /// The kind.
    type Driver: Driver;

    /// A driver that has at most `memory` bytes for received and sent bytes.
    fn driver(&self, memory: usize) -> Self::Driver;

    /// A connected, non-blocking socket, for the driver to be attached to.
    fn socket(&self, fd: OwnedFd, peer: Address) -> <Self::Driver as Driver>::Socket;

    /// A piece to be sent, in memory of the driver's choice where the bed wants that.
    fn piece(&self, _driver: &mut Self::Driver, _key: Key, piece: Segment) -> Segment {
        piece
    }

    /// The time after which a driver that does nothing is given up. Long: a sound driver on a slow machine is no failure.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Epoll drivers.
#[derive(Clone, Copy, Debug)]
pub struct EpollBed {
    /// When the kernel reports a connection.
    pub trigger: Trigger,
    /// The most bytes received from one connection in one turn.
    pub receive_budget: usize,
}

impl Bed for EpollBed {
    type Driver = Epoll;

    fn driver(&self, memory: usize) -> Epoll {
        let options = EpollOptions { trigger: self.trigger, memory, receive_budget: self.receive_budget };
        Epoll::new(options).expect("an epoll instance can be had")
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        Socket { fd, peer: Box::new(peer) }
    }
}

/// Epoll drivers whose kernel serves several connections with one call, as far as the driver can tell: each entry of a
/// batch becomes a call of its own.
#[derive(Clone, Copy, Debug)]
pub struct BatchedBed {
    /// As of the bed of plain drivers.
    pub epoll: EpollBed,
    /// The most connections served at once.
    pub batch: usize,
}

impl Bed for BatchedBed {
    type Driver = Epoll<Batched>;

    fn driver(&self, memory: usize) -> Self::Driver {
        let EpollBed { trigger, receive_budget } = self.epoll;
        let options = EpollOptions { trigger, memory, receive_budget };
        let linux = Linux::new().expect("an epoll instance can be had");
        Epoll::with_kernel(Batched { linux, batch: self.batch }, options).expect("it can be watched")
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        Socket { fd, peer: Box::new(peer) }
    }
}

/// Two drivers in one. Connections that a case brings along go to the driver of one side, and so does everything else.
#[derive(Clone, Copy, Debug)]
pub struct BothBed<A, B> {
    /// Makes the first driver.
    pub first: A,
    /// Makes the second driver.
    pub second: B,
    /// Whose the connections are.
    pub side: Side,
}

impl<A: Bed, B: Bed> Bed for BothBed<A, B> {
    type Driver = Both<A::Driver, B::Driver>;

    fn driver(&self, memory: usize) -> Self::Driver {
        let side = self.side;
        Both::new(self.first.driver(memory), self.second.driver(memory), move |_| side)
            .expect("both can be watched")
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> <Self::Driver as Driver>::Socket {
        match self.side {
            Side::First => BothSocket::First(self.first.socket(fd, peer)),
            Side::Second => BothSocket::Second(self.second.socket(fd, peer)),
        }
    }

    fn piece(&self, driver: &mut Self::Driver, key: Key, piece: Segment) -> Segment {
        match self.side {
            Side::First => self.first.piece(driver.first(), key, piece),
            Side::Second => self.second.piece(driver.second(), key, piece),
        }
    }

    fn patience(&self) -> Duration {
        self.first.patience().max(self.second.patience())
    }
}

/// Linux, with the batches that the trait supplies.
#[derive(Debug)]
pub struct Batched {
    linux: Linux,
    batch: usize,
}

impl AsFd for Batched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.linux.as_fd()
    }
}

impl Kernel for Batched {
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize> {
        self.linux.wait(ready, timeout)
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.linux.watch(fd, token, interest)
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.linux.rewatch(fd, token, interest)
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.linux.unwatch(fd)
    }

    fn receive(&mut self, fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
        self.linux.receive(fd, first, second)
    }

    fn send(&mut self, fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.linux.send(fd, pieces)
    }

    fn accept(&mut self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        self.linux.accept(fd)
    }

    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.linux.shutdown_send(fd)
    }

    fn batch(&self) -> usize {
        self.batch
    }
}
