//! What drivers over the system's stream sockets have in common, wherever they live: listening, connecting, addresses,
//! and a bell that the kernel can hear. How bytes move is the driver's own affair.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::net::Address;
use crate::sync::Bell;
use crate::sys::{self, EventFd};

/// A bell in an eventfd(2), for an owner that sleeps in the kernel. Cheap to clone; clones are one bell.
///
/// Its descriptor is to be watched for edges (`EPOLLET`, or a poll that is not ended by its first answer) and never
/// read: each ring is a new edge, whether the one before was heard or not.
#[derive(Clone, Debug)]
pub struct EventBell(EventFd);

impl EventBell {
    /// A silent bell.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> io::Result<Self> {
        EventFd::new().map(Self)
    }
}

impl Bell for EventBell {
    fn ring(&self) {
        self.0.ring();
    }
}

impl AsFd for EventBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens a listening, non-blocking socket, and says which address it got; see [`Driver::listen`](super::Driver::listen).
///
/// # Errors
/// As socket(2), bind(2) and listen(2).
pub fn listen(address: &Address, share: bool) -> io::Result<(OwnedFd, Address)> {
    sys::listen(address, share)
}

/// Opens a non-blocking socket and starts to connect it; see [`Driver::connect`](super::Driver::connect). The flag says
/// whether it is connected already. If not, it becomes ready to send when it is, or has failed.
///
/// # Errors
/// As socket(2), bind(2) and connect(2).
pub fn connect(address: &Address, local: Option<SocketAddr>) -> io::Result<(OwnedFd, bool)> {
    sys::connect(address, local)
}

/// How a started connect has ended (`SO_ERROR`, socket(7)).
///
/// # Errors
/// Why it has failed.
pub fn connect_result(fd: &OwnedFd) -> io::Result<()> {
    sys::connect_result(fd.as_fd())
}

/// Where the other end of a connected socket is (getpeername(2)).
///
/// # Errors
/// `ENOTCONN` when there is none any more.
pub fn peer_address(fd: &OwnedFd) -> io::Result<Address> {
    sys::peer_address(fd)
}

/// shutdown(2) of the sending direction. A peer that is gone already is no error.
///
/// # Errors
/// As the system call.
pub fn shutdown_send(fd: BorrowedFd<'_>) -> io::Result<()> {
    sys::shutdown_send(fd)
}

/// Takes one message off a socket's error queue and drops it (recvmsg(2)): news of memory that was lent from it before it
/// came here, which the kernel reports like an error. Answers whether there was one.
///
/// # Errors
/// As the system call.
pub fn drop_error(fd: BorrowedFd<'_>) -> io::Result<bool> {
    sys::drop_error(fd)
}

/// Whether accepting has failed for the one connection that was about to be accepted; the next may be fine.
#[must_use]
pub fn is_of_one_connection(error: &io::Error) -> bool {
    sys::is_of_one_connection(error)
}
