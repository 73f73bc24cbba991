//! The system calls of the zerocopy path, behind a trait, so that a test can play the kernel.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use linkpoll::driver::epoll::{Kernel, Linux};

use super::sys;
pub use super::sys::Notification;

/// A kernel that sends by reference. Each method is one system call.
pub trait LendingKernel: Kernel {
    /// Whether sending by reference is switched on already (`SO_ZEROCOPY`).
    ///
    /// # Errors
    /// As getsockopt(2).
    fn is_lending(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool>;

    /// Switches sending by reference on or off.
    ///
    /// # Errors
    /// As setsockopt(2); `EOPNOTSUPP` where the socket's family cannot.
    fn set_lending(&mut self, fd: BorrowedFd<'_>, on: bool) -> io::Result<()>;

    /// The number that the first call of a socket that lends gets.
    ///
    /// KERNEL: msg_zerocopy.rst: the counter starts at 0. A kernel that is played may start near the wrap.
    fn first_number(&self) -> u32 {
        0
    }

    /// Sends the pieces in order; with `lend` by reference, with `more` as something that is not all.
    ///
    /// # Errors
    /// As sendmsg(2); `ENOBUFS` when no more may be lent now.
    fn send_group(
        &mut self,
        fd: BorrowedFd<'_>,
        pieces: &[IoSlice<'_>],
        lend: bool,
        more: bool,
    ) -> io::Result<usize>;

    /// Fetches some records of the error queue. Answers whether there may be more, and whether there were any.
    ///
    /// # Errors
    /// As recvmmsg(2); `WouldBlock` when the queue is empty.
    fn notifications(&mut self, fd: BorrowedFd<'_>, into: &mut Vec<Notification>) -> io::Result<Fetched>;

    /// Ends both directions.
    ///
    /// # Errors
    /// As shutdown(2).
    fn shutdown_both(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;
}

/// What a look into an error queue found, besides the notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Everything there was.
    All,
    /// As much as one call fetches.
    Some,
}

impl LendingKernel for Linux {
    fn is_lending(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        sys::is_enabled(fd)
    }

    fn set_lending(&mut self, fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
        sys::enable(fd, on)
    }

    fn send_group(
        &mut self,
        fd: BorrowedFd<'_>,
        pieces: &[IoSlice<'_>],
        lend: bool,
        more: bool,
    ) -> io::Result<usize> {
        sys::send(fd, pieces, lend, more)
    }

    fn notifications(&mut self, fd: BorrowedFd<'_>, into: &mut Vec<Notification>) -> io::Result<Fetched> {
        let n = sys::error_queue(fd, |notification| into.push(notification))?;
        Ok(if n < sys::RECORDS { Fetched::All } else { Fetched::Some })
    }

    fn shutdown_both(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sys::shutdown(fd)
    }
}
