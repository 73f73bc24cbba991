//! eventfd(2) as a bell.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd as Inner};

use super::site::{Site, at};
use crate::sync::{Arc, Bell};

/// A bell that an epoll instance can hear.
///
/// KERNEL: registered edge-triggered, each write is a new edge even when the counter was not read before, so the
/// loop never spends a system call on reading it. The counter holds 2^64-2 rings; should it ever be full, the write
/// would block, and reading it once starts it over.
#[derive(Clone, Debug)]
pub(crate) struct EventFd(Arc<Inner>);

impl EventFd {
    /// eventfd(2), non-blocking and close-on-exec.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let inner = at(Site::EventFd, || Inner::from_value_and_flags(0, flags))?;
        Ok(Self(Arc::new(inner)))
    }
}

impl Bell for EventFd {
    fn ring(&self) {
        while let Err(error) = at(Site::EventFdWrite, || self.0.write(1)) {
            match error {
                nix::errno::Errno::EAGAIN => drop(at(Site::EventFdRead, || self.0.read())),
                nix::errno::Errno::EINTR => {}
                // The descriptor is ours and open, and the buffer is eight bytes: nothing else can happen.
                other => unreachable!("eventfd write: {other}"),
            }
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
