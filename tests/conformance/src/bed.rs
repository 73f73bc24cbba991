//! What a suite runs on.

use std::any::Any;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use linkpoll::buffer::Segment;
use linkpoll::driver::epoll::{Epoll, EpollOptions, Interest, Kernel, Linux, Ready, Socket, Trigger};
use linkpoll::driver::{Both, BothSocket, Driver, Key, Side};
use linkpoll::net::Address;

use crate::socket;
use crate::{Ability, Dialled, Dialling, FAMILIES, Family, Listening, Peer, SocketPeer};

/// Makes drivers of one kind, and the other ends of their connections.
///
/// A driver whose connections are sockets of the system needs no more than a [`SocketBed`].
pub trait Bed {
    /// The kind.
    type Driver: Driver;
    /// The other end of a connection.
    type Peer: Peer;

    /// A driver that has at most `memory` bytes for received and sent bytes.
    fn driver(&self, memory: usize) -> Self::Driver;

    /// The families of addresses that the driver knows; most cases are about the first one.
    fn families(&self) -> &'static [Family];

    /// Whether a transport has what not every transport has. What it has not, it must refuse.
    fn has(&self, ability: Ability) -> bool;

    /// A connection: the peer, which gives up what takes longer than `patience`, and what the driver is attached to.
    fn pair(&self, family: Family, patience: Duration) -> (Self::Peer, <Self::Driver as Driver>::Socket);

    /// A peer that connects to a listener of the driver.
    ///
    /// # Errors
    /// When nobody listens there.
    fn dial(&self, address: &Address, patience: Duration) -> Dialled<Self::Peer>;

    /// Somebody who listens at an address, for the driver to connect to.
    fn listen(&self, address: &Address, patience: Duration) -> Listening<Self::Peer>;

    /// An address at which somebody listens and answers nobody, of the first family. It is so until what comes with it is
    /// dropped.
    fn silence(&self) -> (Address, Box<dyn Any>);

    /// The bytes that a connection takes, at least, before its peer reads.
    fn room(&self) -> usize {
        64 << 10
    }

    /// The most connections that a case makes at a time.
    fn crowd(&self) -> usize {
        300
    }

    /// A piece to be sent, in memory of the driver's choice where the bed wants that.
    fn piece(&self, _driver: &mut Self::Driver, _key: Key, piece: Segment) -> Segment {
        piece
    }

    /// The time after which a driver that does nothing is given up. Long: a sound driver on a slow machine is no failure.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes drivers whose connections are sockets of the system, and whose peers are ordinary sockets.
pub trait SocketBed {
    /// The kind.
    type Driver: Driver;

    /// As of [`Bed`].
    fn driver(&self, memory: usize) -> Self::Driver;

    /// A connected, non-blocking socket, for the driver to be attached to.
    fn socket(&self, fd: OwnedFd, peer: Address) -> <Self::Driver as Driver>::Socket;

    /// As of [`Bed`].
    fn piece(&self, _driver: &mut Self::Driver, _key: Key, piece: Segment) -> Segment {
        piece
    }

    /// As of [`Bed`].
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl<B: SocketBed> Bed for B {
    type Driver = B::Driver;
    type Peer = SocketPeer;

    fn driver(&self, memory: usize) -> Self::Driver {
        SocketBed::driver(self, memory)
    }

    fn families(&self) -> &'static [Family] {
        &FAMILIES
    }

    fn has(&self, _ability: Ability) -> bool {
        true
    }

    fn pair(&self, family: Family, patience: Duration) -> (SocketPeer, <Self::Driver as Driver>::Socket) {
        let (peer, fd, address) = SocketPeer::pair(family, patience);
        (peer, self.socket(fd, address))
    }

    fn dial(&self, address: &Address, patience: Duration) -> Dialled<SocketPeer> {
        SocketPeer::connect(address, patience).map(Dialling::Done)
    }

    fn listen(&self, address: &Address, patience: Duration) -> Listening<SocketPeer> {
        socket::listen(address, patience)
    }

    fn silence(&self) -> (Address, Box<dyn Any>) {
        socket::silence()
    }

    fn piece(&self, driver: &mut Self::Driver, key: Key, piece: Segment) -> Segment {
        SocketBed::piece(self, driver, key, piece)
    }

    fn patience(&self) -> Duration {
        SocketBed::patience(self)
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

impl SocketBed for EpollBed {
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

impl SocketBed for BatchedBed {
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
    type Peer = BothPeer<A::Peer, B::Peer>;

    fn driver(&self, memory: usize) -> Self::Driver {
        let side = self.side;
        Both::new(self.first.driver(memory), self.second.driver(memory), move |_| side)
            .expect("both can be watched")
    }

    fn families(&self) -> &'static [Family] {
        match self.side {
            Side::First => self.first.families(),
            Side::Second => self.second.families(),
        }
    }

    fn has(&self, ability: Ability) -> bool {
        match (ability, self.side) {
            // Descriptors become the first driver's, whoever the others belong to.
            (Ability::Descriptors, _) | (_, Side::First) => self.first.has(ability),
            (_, Side::Second) => self.second.has(ability),
        }
    }

    fn pair(&self, family: Family, patience: Duration) -> (Self::Peer, <Self::Driver as Driver>::Socket) {
        match self.side {
            Side::First => {
                let (peer, socket) = self.first.pair(family, patience);
                (BothPeer::First(peer), BothSocket::First(socket))
            }
            Side::Second => {
                let (peer, socket) = self.second.pair(family, patience);
                (BothPeer::Second(peer), BothSocket::Second(socket))
            }
        }
    }

    fn dial(&self, address: &Address, patience: Duration) -> Dialled<Self::Peer> {
        match self.side {
            Side::First => Ok(self.first.dial(address, patience)?.map(BothPeer::First)),
            Side::Second => Ok(self.second.dial(address, patience)?.map(BothPeer::Second)),
        }
    }

    fn listen(&self, address: &Address, patience: Duration) -> Listening<Self::Peer> {
        match self.side {
            Side::First => self.first.listen(address, patience).map(BothPeer::First),
            Side::Second => self.second.listen(address, patience).map(BothPeer::Second),
        }
    }

    fn silence(&self) -> (Address, Box<dyn Any>) {
        match self.side {
            Side::First => self.first.silence(),
            Side::Second => self.second.silence(),
        }
    }

    fn room(&self) -> usize {
        self.first.room().min(self.second.room())
    }

    fn crowd(&self) -> usize {
        self.first.crowd().min(self.second.crowd())
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

/// A peer of either side.
#[derive(Debug)]
pub enum BothPeer<A, B> {
    /// A peer of the first driver's.
    First(A),
    /// A peer of the second driver's.
    Second(B),
}

macro_rules! of {
    ($peer:expr, $it:ident => $call:expr) => {
        match $peer {
            BothPeer::First($it) => $call,
            BothPeer::Second($it) => $call,
        }
    };
}

impl<A: Peer, B: Peer> Peer for BothPeer<A, B> {
    fn write(&mut self, bytes: &[u8]) {
        of!(self, peer => peer.write(bytes));
    }

    fn offer(&mut self, bytes: &[u8]) -> usize {
        of!(self, peer => peer.offer(bytes))
    }

    fn read_some(&mut self, n: usize) -> Option<Vec<u8>> {
        of!(self, peer => peer.read_some(n))
    }

    fn end(&mut self) {
        of!(self, peer => peer.end());
    }

    fn reset(self) {
        of!(self, peer => peer.reset());
    }

    fn urgent(&mut self, byte: u8) {
        of!(self, peer => peer.urgent(byte));
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
