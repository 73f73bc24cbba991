//! What a connection of the load is made of: a socket, or a session in shared memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

#[cfg(feature = "shm")]
use linkpoll::buffer::Chain;
#[cfg(feature = "shm")]
use linkpoll_shm::session::{Parked, Received, Room, Session};

/// A connection's way to its server.
pub(crate) enum Wire {
    /// A non-blocking stream socket.
    Socket(OwnedFd),
    /// Two rings in shared memory.
    #[cfg(feature = "shm")]
    Shared(Box<Session>),
}

/// Messages of so many bytes are written in place.
#[cfg(feature = "shm")]
const IN_PLACE_FROM: usize = 4 << 10;
/// How many bytes are written in place at a time.
#[cfg(feature = "shm")]
const IN_PLACE: usize = 64 << 10;

/// Why nothing was moved.
pub(crate) enum Stop {
    /// There is no room, or nothing there, at present.
    NotNow,
    /// The server has closed in order.
    End,
    /// The connection is lost.
    Lost(Errno),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.raw_os_error().map_or(Errno::EPROTO, Errno::from_raw))
    }
}

impl Wire {
    /// Sends as many of the bytes as there is room for at once.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        match self {
            Self::Socket(socket) => match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EAGAIN) => Err(Stop::NotNow),
                Err(Errno::EINTR) => Ok(0),
                Err(errno) => Err(Stop::Lost(errno)),
                Ok(sent) => Ok(sent),
            },
            #[cfg(feature = "shm")]
            Self::Shared(session) => {
                let mut left = bytes;
                match session.send(&mut left) {
                    Ok(0) => Err(Stop::NotNow),
                    Ok(sent) => Ok(sent),
                    Err(error) => Err(lost(&error)),
                }
            }
        }
    }

    /// Sends bytes that are written where the server reads them, where that is possible and `left` bytes of a message are
    /// worth it. `fill` writes up to as many as it is given room for, and answers how many.
    #[cfg_attr(
        not(feature = "shm"),
        expect(unused_variables, reason = "sockets have no memory of the server's")
    )]
    pub(crate) fn send_in_place(
        &mut self,
        left: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Result<usize, Stop>> {
        match self {
            Self::Socket(_) => None,
            #[cfg(feature = "shm")]
            Self::Shared(session) if left >= IN_PLACE_FROM => {
                // The server copies one piece out while the next is written.
                let room = if left < 2 * IN_PLACE { left } else { IN_PLACE };
                let mut tail = match session.allocate(room) {
                    Ok(tail) => tail?,
                    Err(error) => return Some(Err(lost(&error))),
                };
                let written = fill(&mut tail.spare()[..room]);
                let mut chain = Chain::new();
                chain.push(tail.commit(written));
                Some(match session.send_chain(&mut chain) {
                    Ok(0) => Err(Stop::NotNow),
                    Ok(sent) => Ok(sent),
                    Err(error) => Err(lost(&error)),
                })
            }
            #[cfg(feature = "shm")]
            Self::Shared(_) => None,
        }
    }

    /// Receives once, and answers how many bytes.
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> Result<usize, Stop> {
        match self {
            Self::Socket(socket) => match recv(socket.as_raw_fd(), into, MsgFlags::empty()) {
                Err(Errno::EAGAIN | Errno::EINTR) => Err(Stop::NotNow),
                Err(errno) => Err(Stop::Lost(errno)),
                Ok(0) => Err(Stop::End),
                Ok(length) => Ok(length),
            },
            #[cfg(feature = "shm")]
            Self::Shared(session) => {
                let mut room = Room { first: into, second: &mut [] };
                match session.receive(&mut room, usize::MAX) {
                    Ok(Received::Copied(length)) => Ok(length),
                    Ok(Received::Nothing) => Err(Stop::NotNow),
                    // Servers of the load send no sealed memory.
                    Ok(Received::Sealed(_)) => Err(Stop::Lost(Errno::EPROTO)),
                    Ok(Received::End) => Err(Stop::End),
                    Err(error) => Err(lost(&error)),
                }
            }
        }
    }

    /// Whether there may be something to receive, found out without a system call. A socket cannot tell.
    #[cfg(feature = "shm")]
    pub(crate) fn has_news(&mut self) -> bool {
        match self {
            Self::Socket(_) => false,
            // What is wrong with it, receiving finds.
            Self::Shared(session) => session.is_pending() || session.has_news().unwrap_or(true),
        }
    }

    /// Sees to it that the descriptor becomes readable when there is something to receive, or room for `unsent` bytes.
    /// Answers whether there is nothing yet.
    #[cfg(feature = "shm")]
    pub(crate) fn park(&mut self, blocked: bool) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Shared(session) => {
                let send = blocked.then_some(usize::MAX);
                session.park(true, send).is_ok_and(|parked| parked == Parked::Sleeping)
            }
        }
    }

    /// The eventfd that rings for a session, where one was agreed upon.
    #[cfg(feature = "shm")]
    pub(crate) fn bell(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Socket(_) => None,
            Self::Shared(session) => session.watched().1,
        }
    }

    /// Whether the server has asked for the connection to end soon. A socket cannot tell.
    pub(crate) fn is_leaving(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            #[cfg(feature = "shm")]
            Self::Shared(session) => session.is_leaving(),
        }
    }

    /// Tells a session's other side that nothing more comes.
    #[cfg(feature = "shm")]
    pub(crate) fn end(&mut self) {
        if let Self::Shared(session) = self {
            // A server that is gone need not be told.
            let _ = session.end();
        }
    }

    /// The descriptor is readable.
    #[cfg(feature = "shm")]
    pub(crate) fn listen(&mut self) {
        if let Self::Shared(session) = self {
            // What is wrong with it, receiving finds.
            let _ = session.listen();
        }
    }
}

#[cfg(feature = "shm")]
fn lost(error: &linkpoll_shm::session::SessionError) -> Stop {
    Stop::Lost(match error.kind() {
        io::ErrorKind::ConnectionReset => Errno::ECONNRESET,
        io::ErrorKind::BrokenPipe => Errno::EPIPE,
        _ => Errno::EPROTO,
    })
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            #[cfg(feature = "shm")]
            Self::Shared(session) => session.watched().0,
        }
    }
}
