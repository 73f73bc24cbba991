//! One connection of the load.

use std::collections::VecDeque;

use nix::errno::Errno;

use super::error::LoadError;
use super::pattern::{Cursor, Mismatch, Pattern};
use super::wire::{Stop, Wire};

/// One connection: what was asked on it, how much of that was sent, and how much came back.
pub(crate) struct Connection {
    pub(crate) number: usize,
    pub(crate) wire: Wire,
    /// Requests asked for so far; those behind `sent` still wait for room.
    issued: u64,
    sent: Cursor,
    received: Cursor,
    /// When the clocks of the unanswered requests started, oldest first.
    started: VecDeque<u64>,
    /// The socket was full, and its poller reports room.
    pub(crate) blocked: bool,
    /// Waits in the open loop's queue for its turn.
    pub(crate) queued: bool,
}

impl Connection {
    pub(crate) fn new(number: usize, wire: Wire, depth: usize) -> Self {
        let started = VecDeque::with_capacity(depth);
        let (sent, received) = (Cursor::default(), Cursor::default());
        Self { number, wire, issued: 0, sent, received, started, blocked: false, queued: false }
    }

    /// Requests without a reply.
    pub(crate) fn outstanding(&self) -> usize {
        self.started.len()
    }

    /// Asks for one more request whose clock started at `at`; [`Self::flush`] sends it.
    pub(crate) fn issue(&mut self, at: u64) {
        self.issued += 1;
        self.started.push_back(at);
    }

    /// Has this many more requests to send, whose replies nobody waits for.
    pub(crate) fn offer(&mut self, requests: u64) {
        self.issued += requests;
    }

    /// The bytes sent so far.
    pub(crate) fn sent_bytes(&self, pattern: &Pattern) -> u64 {
        self.sent.frame * pattern.frame_length() as u64 + self.sent.offset as u64
    }

    /// Sends what was issued, as many requests in one call as `buffer` holds, until the socket is full.
    /// Returns whether everything was sent.
    pub(crate) fn flush(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<bool, LoadError> {
        while self.sent.frame < self.issued {
            let fill = |into: &mut [u8]| pattern.fill(self.number, self.sent, self.issued, into);
            let left = pattern.frame_length() - self.sent.offset;
            let outcome = match self.wire.send_in_place(left, fill) {
                Some(outcome) => outcome,
                None => {
                    let length = fill(buffer);
                    self.wire.send(&buffer[..length])
                }
            };
            let sent = match outcome {
                Err(Stop::NotNow) => return Ok(false),
                Err(Stop::End) => return Err(self.closed(None)),
                Err(Stop::Lost(errno)) => return Err(self.closed(Some(errno))),
                Ok(sent) => sent,
            };
            self.sent = pattern.advance(self.sent, sent);
        }
        Ok(true)
    }

    /// Receives once, checks the bytes, and returns how many there were and how many replies they completed.
    pub(crate) fn receive(
        &mut self,
        pattern: &Pattern,
        buffer: &mut [u8],
    ) -> Result<(usize, usize), LoadError> {
        let length = match self.wire.receive(buffer) {
            Err(Stop::NotNow) => return Ok((0, 0)),
            Err(Stop::Lost(errno)) => return Err(self.closed(Some(errno))),
            Err(Stop::End) => return Err(self.closed(None)),
            Ok(length) => length,
        };
        // A reply longer than its request is wrong even where it foretells the next one.
        if pattern.advance(self.received, length) > self.sent {
            return Err(LoadError::Unasked { connection: self.number, outstanding: 0 });
        }
        let before = self.received.frame;
        self.received =
            pattern.verify(self.number, self.received, &buffer[..length]).map_err(|Mismatch(at)| {
                LoadError::Differs {
                    connection: self.number,
                    request: at.frame,
                    offset: at.offset,
                    outstanding: 0,
                }
            })?;
        Ok((length, usize::try_from(self.received.frame - before).unwrap_or(usize::MAX)))
    }

    /// The number and the start of the oldest unanswered request, which is answered now.
    pub(crate) fn answer(&mut self) -> Option<(u64, u64)> {
        let number = self.issued - self.started.len() as u64;
        self.started.pop_front().map(|started| (number, started))
    }

    /// Whether nothing more is to be asked on it: the server wants it to end.
    ///
    /// # Errors
    /// When nothing is under way on it either: then it has ended.
    pub(crate) fn is_leaving(&self) -> Result<bool, LoadError> {
        match self.wire.is_leaving() {
            true if self.started.is_empty() => Err(self.closed(None)),
            leaving => Ok(leaving),
        }
    }

    fn closed(&self, cause: Option<Errno>) -> LoadError {
        LoadError::Closed { connection: self.number, outstanding: 0, cause, large: None }
    }
}
