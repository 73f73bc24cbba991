//! The end that waits for channels.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Kernel as _, Linux};
use linkpoll::driver::system::{self, is_of_one_connection};
use linkpoll::net::Address;

use super::{Channel, Options};
use crate::handshake::{self, HandshakeError};
use crate::session::Session;
use crate::sys;

/// How long to wait at a time, where there is no deadline.
const LONG: Duration = Duration::from_secs(3600);

/// Waits for channels at a path, one after the other. A server of many clients is one for a loop
/// ([`ShmDriver`](crate::ShmDriver)), or has a thread for each channel.
///
/// Dropped, it takes no more connections. The path stays.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    kernel: Linux,
    options: Options,
}

impl Listener {
    /// Listens at `path`, which is made. The socket of a server that is gone is replaced.
    ///
    /// # Errors
    /// As socket(2), bind(2) and listen(2).
    pub fn bind(path: impl AsRef<Path>, options: &Options) -> io::Result<Self> {
        let (fd, _) = system::listen(&Address::Unix(path.as_ref().to_path_buf()), false)?;
        Ok(Self { fd, kernel: Linux::new()?, options: options.clone() })
    }

    /// Waits for a connection, and makes a channel of it. The handshake takes at most three of its steps.
    ///
    /// # Errors
    /// When it came to no session: that is the one connection's affair, and the next may be fine.
    /// [`HandshakeError::Local`] when this process can accept no more.
    pub fn accept(&mut self) -> Result<Channel, HandshakeError> {
        self.accept_within(None)
    }

    /// As [`accept`](Self::accept), waiting for a connection until `deadline`.
    ///
    /// # Errors
    /// As there; [`HandshakeError::Local`] with `TimedOut` when none has come.
    pub fn accept_until(&mut self, deadline: Instant) -> Result<Channel, HandshakeError> {
        self.accept_within(Some(deadline))
    }

    fn accept_within(&mut self, deadline: Option<Instant>) -> Result<Channel, HandshakeError> {
        loop {
            let error = match self.kernel.accept(self.fd.as_fd()) {
                Ok((socket, _)) => {
                    let established = handshake::accept(socket, &self.options.of_session())?;
                    let session = Session::new(established).map_err(HandshakeError::Local)?;
                    return Channel::new(session, &self.options).map_err(HandshakeError::Local);
                }
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::WouldBlock {
                if is_of_one_connection(&error) {
                    continue;
                }
                return Err(HandshakeError::Local(error));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(HandshakeError::Local(io::ErrorKind::TimedOut.into()));
            }
            sys::wait(self.fd.as_fd(), false, deadline.unwrap_or(now + LONG))
                .map_err(HandshakeError::Local)?;
        }
    }
}

impl AsFd for Listener {
    /// The listening socket: readable when a connection waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
