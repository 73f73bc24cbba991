//! The socket of a session: frames in, frames out, without ever waiting.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::frame::DOORBELL;
use super::{Credentials, Frame, FrameError, Inbox, Refusal};
use crate::sys;

/// The most frames that wait to be sent. A peer that does not read its socket gets no more.
const MOST_QUEUED: usize = 64;

/// What a look at the socket has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Bytes: take the frames now.
    Bytes,
    /// Nothing for now.
    Nothing,
    /// The peer has closed its end, or is gone.
    End,
}

/// A connected Unix stream socket that carries frames.
///
/// Nothing here blocks, whatever the socket's flags are.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
    inbox: Inbox<OwnedFd>,
    /// Reused for each arrival.
    arriving: Vec<OwnedFd>,
    outbox: VecDeque<Queued>,
    /// The last receive got less than it had room for.
    is_drained: bool,
}

/// The unsent rest of a frame.
#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Control {
    /// Takes a connected Unix stream socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, inbox: Inbox::new(), arriving: Vec::new(), outbox: VecDeque::new(), is_drained: false }
    }

    /// Receives once (recvmsg(2)). After it has answered [`Arrival::Bytes`], [`take`](Self::take) must be asked until
    /// there is no frame.
    ///
    /// # Errors
    /// When the connection is broken, when descriptors were lost on their way, or when a frame was already in error.
    pub fn receive(&mut self) -> Result<Arrival, ControlError> {
        let space = self.inbox.space();
        if space.is_empty() {
            // Zero bytes would look like the end.
            return Ok(Arrival::Bytes);
        }
        let most = space.len();
        let arrived = match sys::receive(self.socket.as_fd(), space, &mut self.arriving) {
            Ok(arrived) => arrived,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Arrival::Nothing),
            Err(error) => return Err(error.into()),
        };
        if arrived.too_many || arrived.no_room {
            self.arriving.clear();
            return Err(if arrived.no_room {
                ControlError::NoDescriptors
            } else {
                ControlError::Frame(FrameError::Descriptors)
            });
        }
        self.is_drained = arrived.bytes < most;
        self.inbox.arrived(arrived.bytes, self.arriving.drain(..));
        Ok(if arrived.bytes == 0 { Arrival::End } else { Arrival::Bytes })
    }

    /// Whether the last receive got less than it had room for: most likely nothing is left in the socket, except where a
    /// descriptor has ended what one call answers.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// The next frame among what has arrived. Doorbells in a row are one.
    ///
    /// # Errors
    /// When it is none.
    pub fn take(&mut self) -> Result<Option<Frame<OwnedFd>>, ControlError> {
        Ok(self.inbox.take()?)
    }

    /// Sends a frame, or queues it behind others. Answers whether it, and everything before it, is in the kernel's hands.
    /// The descriptors are closed here once they are sent.
    ///
    /// # Errors
    /// When the connection is broken, or too many frames wait.
    pub fn send(&mut self, frame: Frame<OwnedFd>) -> Result<bool, ControlError> {
        if self.outbox.len() == MOST_QUEUED {
            return Err(ControlError::NotRead);
        }
        let mut bytes = Vec::with_capacity(64);
        let descriptors = frame.write(&mut bytes);
        self.outbox.push_back(Queued { bytes, sent: 0, descriptors });
        self.flush()
    }

    /// Sends what is queued. Answers whether all of it is in the kernel's hands.
    ///
    /// # Errors
    /// When the connection is broken. What is queued is forgotten.
    pub fn flush(&mut self) -> Result<bool, ControlError> {
        while let Some(first) = self.outbox.front_mut() {
            match sys::send(self.socket.as_fd(), &first.bytes[first.sent..], &first.descriptors) {
                Ok(n) => {
                    first.sent += n;
                    first.descriptors.clear();
                    if first.sent == first.bytes.len() {
                        self.outbox.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => {
                    // Nothing of it is ever sent, and nobody need wait for room.
                    self.outbox.clear();
                    return Err(error.into());
                }
            }
        }
        Ok(true)
    }

    /// Whether frames wait until the socket can be written.
    #[inline]
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends a doorbell. If the socket takes no more, then the peer has not read what is in there, and will find
    /// everything that is in the rings by now when it does: nothing is queued, and that is no error.
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn ring(&mut self) -> Result<(), ControlError> {
        // A doorbell must not come between the parts of another frame.
        if self.wants_to_send() && !self.flush()? {
            return Ok(());
        }
        match sys::send(self.socket.as_fd(), &[DOORBELL], &[]) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the peer, as the last thing, why the session ends; as far as that can be done without waiting.
    pub fn refuse(&mut self, refusal: Refusal) {
        // The peer will notice the end of the connection if it is not told of the reason.
        drop(self.send(Frame::Refused(refusal)));
    }

    /// Who has opened the other end; see [`Credentials`].
    ///
    /// # Errors
    /// When it is no Unix socket.
    pub fn credentials(&self) -> io::Result<Credentials> {
        sys::credentials(self.socket.as_fd())
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a session's socket is of no more use.
#[derive(Debug)]
pub enum ControlError {
    /// The connection is broken.
    Io(io::Error),
    /// The peer does not speak the protocol.
    Frame(FrameError),
    /// This process may have no more descriptors, and those that the peer sent are lost.
    NoDescriptors,
    /// The peer does not read its socket.
    NotRead,
}

impl ControlError {
    /// What the peer is told; nothing, if the connection is broken.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Io(_) => None,
            Self::Frame(error) => Some(error.refusal()),
            Self::NoDescriptors | Self::NotRead => Some(Refusal::Resources),
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the session's socket: {error}"),
            Self::Frame(error) => error.fmt(f),
            Self::NoDescriptors => {
                f.write_str("this process may have no more descriptors: those that came are lost")
            }
            Self::NotRead => f.write_str("the peer does not read its socket"),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Frame(error) => Some(error),
            Self::NoDescriptors | Self::NotRead => None,
        }
    }
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for ControlError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl Clone for ControlError {
    fn clone(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(sys::same(error)),
            Self::Frame(error) => Self::Frame(*error),
            Self::NoDescriptors => Self::NoDescriptors,
            Self::NotRead => Self::NotRead,
        }
    }
}
