//! epoll(7).
#![expect(unsafe_code, reason = "epoll_wait fills an array of the caller's")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::epoll::{EpollCreateFlags, EpollEvent, EpollFlags};

use super::site::{Site, at, at_most};

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Report readable bytes, an end of stream, a waiting connection.
    pub receive: bool,
    /// Report room to send.
    pub send: bool,
    /// Report changes (`EPOLLET`) rather than states.
    pub edge: bool,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, self.receive);
        // KERNEL: epoll(7): a short read proves a socket empty, but not that no FIN has arrived; RDHUP says so.
        // Level triggered it would be reported for ever to one who does not read, so it goes with `receive`.
        flags.set(EpollFlags::EPOLLRDHUP, self.receive);
        // KERNEL: tcp(7): a receive ends at an urgent byte, although more may follow: then a short one does not prove a
        // socket empty, and no edge comes for the rest. PRI says so. Level triggered the rest is reported anyway.
        flags.set(EpollFlags::EPOLLPRI, self.receive && self.edge);
        flags.set(EpollFlags::EPOLLOUT, self.send);
        flags.set(EpollFlags::EPOLLET, self.edge);
        flags
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness(EpollFlags);

impl Readiness {
    /// Readable (for a test that plays the kernel).
    pub const RECEIVE: Self = Self(EpollFlags::EPOLLIN);
    /// Room to send (for a test that plays the kernel).
    pub const SEND: Self = Self(EpollFlags::EPOLLOUT);
    /// The peer has ended its direction.
    pub const END: Self = Self(EpollFlags::EPOLLRDHUP);
    /// Broken (for a test that plays the kernel).
    pub const ERROR: Self = Self(EpollFlags::EPOLLERR);
    /// Broken or closed in both directions (for a test that plays the kernel).
    pub const HANGUP: Self = Self(EpollFlags::EPOLLHUP);

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// A receive will answer something: bytes, an end of stream, or an error.
    #[must_use]
    pub fn may_receive(self) -> bool {
        self.0.intersects(
            EpollFlags::EPOLLIN
                | EpollFlags::EPOLLPRI
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLHUP
                | EpollFlags::EPOLLERR,
        )
    }

    /// A send will answer something: room, or an error.
    #[must_use]
    pub fn may_send(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
    }

    /// The peer has ended its direction.
    #[must_use]
    pub fn peer_ended(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP)
    }

    /// An urgent byte has arrived: a receive may be short although more bytes are there.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLPRI)
    }

    /// Closed in both directions.
    #[must_use]
    pub fn is_hung_up(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLHUP)
    }

    /// Something lies in the error queue, or the descriptor is broken.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLERR)
    }

    /// Without [`ERROR`](Self::ERROR).
    #[must_use]
    pub fn without_error(self) -> Self {
        Self(self.0 - EpollFlags::EPOLLERR)
    }

    /// Broken, or closed in both directions. epoll reports this whether it was asked for or not.
    #[must_use]
    pub fn is_dead(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
    }
}

/// One entry of an answer: the token given at registration, and what is ready.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Ready(EpollEvent);

impl Ready {
    /// An entry (for a test that plays the kernel).
    #[must_use]
    pub fn new(token: u64, readiness: Readiness) -> Self {
        Self(EpollEvent::new(readiness.0, token))
    }

    /// The token given at registration.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.0.data()
    }

    /// What is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness(self.0.events())
    }
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Epoll(nix::sys::epoll::Epoll);

impl Epoll {
    /// epoll_create1(2).
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = at(Site::EpollCreate, || nix::sys::epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC))?;
        Ok(Self(epoll))
    }

    /// epoll_ctl(2), `EPOLL_CTL_ADD`.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(at(Site::EpollAdd, || self.0.add(fd, EpollEvent::new(interest.flags(), token)))?)
    }

    /// epoll_ctl(2), `EPOLL_CTL_MOD`.
    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), token);
        Ok(at(Site::EpollModify, || self.0.modify(fd, &mut event))?)
    }

    /// epoll_ctl(2), `EPOLL_CTL_DEL`.
    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(at(Site::EpollDelete, || self.0.delete(fd))?)
    }

    /// epoll_wait(2) into the spare capacity of `ready`, which is emptied first. `timeout` is in milliseconds; -1
    /// waits without limit. An interrupted wait reports nothing.
    pub(crate) fn wait(&self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize> {
        ready.clear();
        // An interrupted wait is not repeated, as `retry` would: the caller has a loop of its own.
        let wait = at_most(Site::EpollWait, |most| {
            let room = i32::try_from(ready.capacity().min(most)).unwrap_or(i32::MAX);
            // SAFETY: `Ready` is transparent over the kernel's epoll_event (nix's is, and ours over nix's), and the
            // vector has room for that many.
            let n =
                unsafe { libc::epoll_wait(self.0.0.as_raw_fd(), ready.as_mut_ptr().cast(), room, timeout) };
            usize::try_from(n).map_err(|_| io::Error::last_os_error())
        });
        let n = match wait {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        // SAFETY: the kernel has filled in the first `n` entries, and `n` is at most the capacity.
        unsafe { ready.set_len(n) };
        Ok(n)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd: &OwnedFd = &self.0.0;
        fd.as_fd()
    }
}
