//! The load's own epoll: level-triggered, waits with nanosecond deadlines.

#![expect(unsafe_code, reason = "epoll_pwait2 has no safe wrapper")]

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// Most events taken at once; the rest comes with the next wait.
const EVENTS: usize = 1024;

/// An epoll instance and the events of its last wait.
pub(crate) struct Poller {
    epoll: Epoll,
    events: Vec<libc::epoll_event>,
    ready: usize,
}

/// One ready socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// What was given to [`Poller::add`].
    pub(crate) token: usize,
    /// Anything but room to send: bytes, end of stream or an error, which receiving tells apart.
    pub(crate) receive: bool,
    /// Room to send.
    pub(crate) send: bool,
    /// It is no socket, but was given to [`Poller::add_bell`].
    #[cfg_attr(not(feature = "shm"), expect(dead_code, reason = "only shared memory has bells"))]
    pub(crate) bell: bool,
}

#[cfg(feature = "shm")]
impl Ready {
    /// A session in shared memory has news, and perhaps room.
    pub(crate) fn news(token: usize, send: bool) -> Self {
        Self { token, receive: true, send, bell: false }
    }
}

/// A bit of the tokens of eventfds.
const BELL: u64 = 1 << 63;

impl Poller {
    pub(crate) fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS], ready: 0 })
    }

    /// Watches `socket` for something to receive.
    pub(crate) fn add(&self, socket: &impl AsFd, token: usize) -> Result<(), Errno> {
        self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, token as u64))
    }

    /// Watches an eventfd that nobody reads: each ring is told once.
    #[cfg(feature = "shm")]
    pub(crate) fn add_bell(&self, bell: &impl AsFd, token: usize) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.epoll.add(bell, EpollEvent::new(flags, token as u64 | BELL))
    }

    /// Watches `socket` for room to send only, whatever there is to receive.
    pub(crate) fn add_sender(&self, socket: &impl AsFd, token: usize) -> Result<(), Errno> {
        self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLOUT, token as u64))
    }

    /// Watches `socket` no longer.
    pub(crate) fn remove(&self, socket: &impl AsFd) -> Result<(), Errno> {
        self.epoll.delete(socket)
    }

    /// Also watches for room to send, or no longer.
    pub(crate) fn watch_send(&self, socket: &impl AsFd, token: usize, on: bool) -> Result<(), Errno> {
        let flags = if on { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        self.epoll.modify(socket, &mut EpollEvent::new(flags, token as u64))
    }

    /// Waits at most `timeout`; returns how many sockets are ready. A signal ends the wait with none.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<usize, Errno> {
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: `events` and `limit` outlive the call, the length is that of `events`, and a null signal mask
        // leaves the mask as it is.
        let result = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.0.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS,
                &raw const limit,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        self.ready = match Errno::result(result) {
            Err(Errno::EINTR) => 0,
            other => usize::try_from(other?).unwrap_or(0),
        };
        Ok(self.ready)
    }

    /// The `index`th ready socket of the last wait.
    pub(crate) fn ready(&self, index: usize) -> Ready {
        let event = self.events[..self.ready][index];
        let mask = event.events;
        Ready {
            token: usize::try_from(event.u64 & !BELL).unwrap_or(usize::MAX),
            bell: event.u64 & BELL != 0,
            receive: mask & !(libc::EPOLLOUT as u32) != 0,
            send: mask & libc::EPOLLOUT as u32 != 0,
        }
    }
}
