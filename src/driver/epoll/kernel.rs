//! The system calls of the epoll driver, behind a trait.
//!
//! Three users: [`Linux`] makes them; a test plays the kernel, with results of its choice; a benchmark answers at
//! once, to see what everything around the calls costs. Drivers that receive or send in another way, but are
//! readiness-driven like epoll, supply their own. One that serves many connections with one call says so
//! ([`Kernel::batch`]) and gets its calls as lists of entries.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::buffer::Chain;
use crate::driver::{Key, SystemCalls};
use crate::sys::{self, Address, Epoll};
pub use crate::sys::{Interest, Readiness, Ready};

/// One connection's part of a [`receive_all`](Kernel::receive_all).
#[derive(Debug)]
pub struct ReceiveEntry<'a> {
    key: Key,
    fd: BorrowedFd<'a>,
    room: &'a mut [u8],
    result: io::Result<usize>,
}

impl<'a> ReceiveEntry<'a> {
    /// An entry that would block, until the kernel says otherwise.
    pub fn new(key: Key, fd: BorrowedFd<'a>, room: &'a mut [u8]) -> Self {
        Self { key, fd, room, result: Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// The connection.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Its descriptor, non-blocking.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    /// Where its bytes go.
    pub fn room(&mut self) -> &mut [u8] {
        self.room
    }

    /// As recv(2) would answer: 0 is the end.
    pub fn answer(&mut self, result: io::Result<usize>) {
        debug_assert!(!matches!(result, Ok(n) if n > self.room.len()), "more bytes than there is room for");
        self.result = result;
    }

    /// What was answered.
    ///
    /// # Errors
    /// As recv(2).
    pub fn into_result(self) -> io::Result<usize> {
        self.result
    }
}

/// One connection's part of a [`send_all`](Kernel::send_all).
#[derive(Debug)]
pub struct SendEntry<'a> {
    key: Key,
    fd: BorrowedFd<'a>,
    chain: &'a Chain,
    result: io::Result<usize>,
}

impl<'a> SendEntry<'a> {
    /// An entry that would block, until the kernel says otherwise.
    #[must_use]
    pub fn new(key: Key, fd: BorrowedFd<'a>, chain: &'a Chain) -> Self {
        Self { key, fd, chain, result: Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// The connection.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Its descriptor, non-blocking.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    /// The bytes, never none. The connection may be offered fewer.
    #[must_use]
    pub fn chain(&self) -> &'a Chain {
        self.chain
    }

    /// As sendmsg(2) would answer.
    pub fn answer(&mut self, result: io::Result<usize>) {
        debug_assert!(!matches!(result, Ok(n) if n > self.chain.len()), "more bytes taken than offered");
        self.result = result;
    }

    /// The connection, and what was answered.
    pub fn into_result(self) -> (Key, io::Result<usize>) {
        (self.key, self.result)
    }
}

/// What the epoll driver asks of the kernel. Each method is one system call, unless it says otherwise.
pub trait Kernel: AsFd {
    /// epoll_wait(2) into the capacity of `ready`, which is emptied first. `timeout` in milliseconds, -1 for none.
    ///
    /// # Errors
    /// As the system call, but never for an interruption: that reports nothing.
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize>;

    /// clock_gettime(2), monotonic.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Starts watching (`EPOLL_CTL_ADD`).
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()>;

    /// Changes what is watched for (`EPOLL_CTL_MOD`).
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn rewatch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()>;

    /// Stops watching (`EPOLL_CTL_DEL`).
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Receives into `first`, then `second` (recv(2), or readv(2) when `second` is not empty). 0 is the end.
    ///
    /// # Errors
    /// As the system call; `WouldBlock` when nothing is there.
    fn receive(&mut self, fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize>;

    /// Sends the pieces in order (send(2), or sendmsg(2) for several).
    ///
    /// # Errors
    /// As the system call; `WouldBlock` when there is no room.
    fn send(&mut self, fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Takes one message off a socket's error queue and drops it (recvmsg(2)). Answers whether there was one.
    ///
    /// # Errors
    /// As the system call.
    fn drop_error(&mut self, _fd: BorrowedFd<'_>) -> io::Result<bool> {
        Ok(false)
    }

    /// accept4(2).
    ///
    /// # Errors
    /// As the system call; `WouldBlock` when no connection waits.
    fn accept(&mut self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)>;

    /// shutdown(2) of the sending direction.
    ///
    /// # Errors
    /// As the system call.
    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Starts to connect a new socket (socket(2), connect(2)), from a local address if one is given. Answers whether the
    /// connection is there already; readiness to send tells when its outcome is to be asked for otherwise.
    ///
    /// # Errors
    /// As the system calls; `WouldBlock` when the queue of a Unix listener has no room, of which nobody will tell.
    fn connect(&mut self, address: &Address, local: Option<SocketAddr>) -> io::Result<(OwnedFd, bool)> {
        sys::connect(address, local)
    }

    /// The outcome of a connect that was under way (`SO_ERROR`, socket(7)).
    ///
    /// # Errors
    /// Why there is no connection.
    fn connect_result(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sys::connect_result(fd)
    }

    /// The driver is about to close a descriptor, or to give it away: whatever the kernel keeps for it besides watching
    /// it ends. Counts the calls that takes.
    #[inline]
    fn forget(&mut self, _calls: &SystemCalls, _fd: BorrowedFd<'_>) {}

    /// The most connections that one call serves. Where it is more than one, the driver uses
    /// [`receive_all`](Self::receive_all) and [`send_all`](Self::send_all) with at most so many entries.
    #[inline]
    fn batch(&self) -> usize {
        1
    }

    /// Receives for several connections, without blocking for any of them, and counts the calls it took. An entry
    /// that is not answered counts as one that would block.
    fn receive_all(&mut self, calls: &SystemCalls, entries: &mut [ReceiveEntry<'_>]) {
        for entry in entries {
            calls.receive.add(1);
            entry.result = self.receive(entry.fd, entry.room, &mut []);
        }
    }

    /// Sends for several connections, without blocking for any of them, and counts the calls it took. An entry that
    /// is not answered counts as one that would block.
    fn send_all(&mut self, calls: &SystemCalls, entries: &mut [SendEntry<'_>]) {
        for entry in entries {
            calls.send.add(1);
            entry.result = self.send(entry.fd, &[IoSlice::new(entry.chain.front())]);
        }
    }
}

/// The kernel itself.
#[derive(Debug)]
pub struct Linux(Epoll);

impl Linux {
    /// Opens an epoll instance.
    ///
    /// # Errors
    /// As epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new()?))
    }
}

impl AsFd for Linux {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Kernel for Linux {
    #[inline]
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize> {
        self.0.wait(ready, timeout)
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.0.add(fd, token, interest)
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.0.modify(fd, token, interest)
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.delete(fd)
    }

    #[inline]
    fn receive(&mut self, fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
        if second.is_empty() { sys::receive(fd, first) } else { sys::receive_two(fd, first, second) }
    }

    #[inline]
    fn send(&mut self, fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::send(fd, pieces)
    }

    fn drop_error(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        sys::drop_error(fd)
    }

    fn accept(&mut self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        sys::accept(fd)
    }

    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sys::shutdown_send(fd)
    }
}
