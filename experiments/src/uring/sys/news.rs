//! A descriptor that is readable while there may be completions, for who sleeps on several rings or drivers.
//!
//! KERNEL: the ring's own descriptor will not do: work that is deferred to the ring's thread
//! (`IORING_SETUP_DEFER_TASKRUN`) wakes nobody who polls it. It does signal an eventfd registered with the ring, but not,
//! or once only, where the work itself was caused by an eventfd, such as the bell (both tried on 6.18). So an epoll
//! instance watches two eventfds, one registered and the bell, for edges: one call forgets what it has reported.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use io_uring::IoUring;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// See the module's documentation. Costs nothing before it is armed.
pub(super) struct News {
    epoll: Epoll,
    signal: EventFd,
    armed: bool,
    heeds_bell: bool,
}

impl News {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let signal = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&signal, edges())?;
        Ok(Self { epoll, signal, armed: false, heeds_bell: false })
    }

    /// Takes the bell in. Where that fails it is heard by the ring alone.
    pub(super) fn heed_bell(&mut self, bell: BorrowedFd<'_>) {
        if !self.heeds_bell {
            self.heeds_bell = self.epoll.add(bell, edges()).is_ok();
        }
    }

    /// Has the ring tell. Answers whether it did so before.
    pub(super) fn arm(&mut self, ring: &IoUring) -> io::Result<bool> {
        if self.armed {
            return Ok(true);
        }
        if !self.heeds_bell {
            return Err(io::Error::other("the bell would not be heard"));
        }
        ring.submitter().register_eventfd(self.signal.as_raw_fd())?;
        self.armed = true;
        Ok(false)
    }

    /// Forgets what has come so far.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.armed {
            self.epoll.wait(&mut [EpollEvent::empty(); 2], EpollTimeout::ZERO)?;
        }
        Ok(())
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn edges() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)
}
