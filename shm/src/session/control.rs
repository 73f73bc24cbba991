//! What comes over the session's socket.

use std::io;
use std::os::fd::OwnedFd;

use super::{Session, SessionError};
use crate::wire::{Arrival, ControlError, Frame, Role};

/// The most receives of one look. A peer that fills its socket faster than that has to wait for the next look.
const MOST_RECEIVES: usize = 16;

/// What a look at the socket has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// All there was.
    All,
    /// There may be more: look again before sleeping on an edge.
    More,
}

/// Whether a send fails so because nobody is there any more. With unread bytes in the peer's socket it is the second.
pub(super) fn is_gone(error: io::ErrorKind) -> bool {
    matches!(error, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Session {
    /// Reads the session's socket: doorbells, arenas, sealed memory, the end. Never blocks, and reads a bounded amount: a
    /// doorbell alone costs one system call.
    ///
    /// # Errors
    /// When the session is over.
    pub fn listen(&mut self) -> Result<Heard, SessionError> {
        self.live()?;
        let heard = self.hear(false);
        self.latch(heard)
    }

    /// The eventfd on which the peer rings was found rung. It is never read.
    #[inline]
    pub fn rung(&mut self) {
        self.counters.doorbells_heard += 1;
    }

    /// As [`listen`](Self::listen); with `all`, up to what a socket says that has nothing.
    pub(super) fn hear(&mut self, all: bool) -> Result<Heard, SessionError> {
        self.take_frames()?;
        for _ in 0..MOST_RECEIVES {
            match self.control.receive() {
                Ok(Arrival::Bytes) => {
                    self.take_frames()?;
                    if !all && self.control.is_drained() {
                        let flushed = self.control.flush();
                        Self::said(flushed)?;
                        return Ok(Heard::More);
                    }
                }
                Ok(Arrival::Nothing) => {
                    let flushed = self.control.flush();
                    Self::said(flushed)?;
                    return Ok(Heard::All);
                }
                Ok(Arrival::End) => {
                    self.peer_is_gone = true;
                    return Ok(Heard::All);
                }
                Err(error) => {
                    self.peer_is_gone = true;
                    return match SessionError::from(error) {
                        // The peer died with unread bytes in its socket (unix(7)): what it has published is still there.
                        error if error.kind() == io::ErrorKind::ConnectionReset => Ok(Heard::All),
                        error => Err(error),
                    };
                }
            }
        }
        Ok(Heard::More)
    }

    /// Whether the peer's socket was found closed.
    #[must_use]
    pub fn peer_is_gone(&self) -> bool {
        self.peer_is_gone
    }

    /// Sends a frame.
    pub(super) fn say(&mut self, frame: Frame<OwnedFd>) -> Result<(), SessionError> {
        let sent = self.control.send(frame);
        Self::said(sent)
    }

    /// What came of sending. That nobody reads is no failure: the socket says so when it is read, behind its last bytes.
    fn said(sent: Result<bool, ControlError>) -> Result<(), SessionError> {
        match sent {
            Ok(_) => Ok(()),
            Err(ControlError::Io(error)) if is_gone(error.kind()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_frames(&mut self) -> Result<(), SessionError> {
        while let Some(frame) = self.control.take()? {
            match frame {
                Frame::Doorbell => self.counters.doorbells_heard += 1,
                Frame::Bulk(bulk, fd) => self.arrivals.arrived(bulk, fd)?,
                Frame::GoAway if self.role == Role::Client => self.is_leaving = true,
                Frame::Refused(refusal) => return Err(SessionError::Refused(refusal)),
                Frame::AddArena(arena, fd) => {
                    if self.borrowing.show(arena, fd)? {
                        self.say(Frame::ArenaReady(arena.number))?;
                    }
                }
                Frame::ArenaReady(number) => {
                    self.lending.ready(number)?;
                    self.counters.arenas += 1;
                }
                Frame::GoAway
                | Frame::Hello(_)
                | Frame::Setup(..)
                | Frame::Ready
                | Frame::AskStatistics
                | Frame::Statistics(_) => return Err(SessionError::OutOfPlace),
            }
        }
        Ok(())
    }
}
