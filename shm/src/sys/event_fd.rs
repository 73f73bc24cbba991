//! eventfd(2) as a doorbell between two processes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use linkpoll::faults::at;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd as Inner};

use super::{Site, retry};

/// A counter whose every change is an event for whoever has registered it edge-triggered. Nobody reads it.
///
/// Both sides hold the same open file, and with it the same `O_NONBLOCK`: a peer that means harm can clear that flag and
/// fill the counter, and then the next ring waits. So this doorbell is for peers that are trusted not to do so.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// eventfd(2), non-blocking and close-on-exec.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(at(Site::BellCreate, || Inner::from_value_and_flags(0, flags))?.into()))
    }

    /// Takes a descriptor that came from somebody else. Gives it back when it is no non-blocking eventfd.
    ///
    /// KERNEL: proc(5): the link of an anonymous file says of which kind it is. Neither call asks a file system.
    pub(crate) fn adopt(fd: OwnedFd) -> Result<Self, OwnedFd> {
        let flags = retry(Site::BellFlags, || fcntl(&fd, FcntlArg::F_GETFL)).map(OFlag::from_bits_retain);
        let link: io::Result<_> =
            at(Site::BellLink, || fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())));
        let open = flags.is_ok_and(|flags| flags.contains(OFlag::O_NONBLOCK | OFlag::O_RDWR));
        if open && link.is_ok_and(|link| link == Path::new("anon_inode:[eventfd]")) {
            Ok(Self(fd))
        } else {
            Err(fd)
        }
    }

    /// A second descriptor of the same counter, to give away.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        at(Site::BellShare, || self.0.try_clone())
    }

    /// Ends the sleep of whoever waits for the counter. A counter that is full has woken everybody already.
    ///
    /// # Errors
    /// When what the peer gave us turns out to be no eventfd.
    pub fn ring(&self) -> io::Result<()> {
        match retry(Site::BellRing, || nix::unistd::write(&self.0, &1_u64.to_ne_bytes())) {
            Ok(8) => Ok(()),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
