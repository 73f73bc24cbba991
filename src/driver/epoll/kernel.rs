//! The system calls of the epoll driver, behind a trait.
//!
//! Three users: [`Linux`] makes them; a test plays the kernel, with results of its choice; a benchmark answers at
//! once, to see what everything around the calls costs. Drivers that receive or send in another way, but are
//! readiness-driven like epoll, supply their own.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::sys::{self, Address, Epoll};
pub use crate::sys::{Interest, Readiness, Ready};

/// What the epoll driver asks of the kernel. Each method is one system call.
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

    fn accept(&mut self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        sys::accept(fd)
    }

    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sys::shutdown_send(fd)
    }
}
