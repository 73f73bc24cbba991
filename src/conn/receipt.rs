//! What becomes of bytes that another thread has sent.
//!
//! A connection with receipts under way counts the bytes queued and the bytes sent since the first of them. A receipt
//! covers a range of the queued ones; it is answered when the sent ones have passed its end, or with an error that
//! says how far they have come when the connection closes.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::handover::{Abandoned, Pending, Promise};

/// Why bytes were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendFailure {
    /// The connection is closed, or closes and takes no more.
    Closed,
    /// More bytes wait to be sent than the loop allows for one connection.
    Full,
    /// The connection was detached. The bytes that were not taken went with it.
    Detached,
}

/// Bytes were not sent, or not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError {
    /// How many of the chain's bytes the transport has taken. Whether the peer has them nobody can tell.
    pub taken: usize,
    /// Why the others were not.
    pub why: SendFailure,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            SendFailure::Closed => write!(f, "the connection was closed when {} bytes were sent", self.taken),
            SendFailure::Detached => {
                write!(f, "the connection was detached when {} bytes were sent", self.taken)
            }
            SendFailure::Full => f.write_str("too many bytes wait to be sent on the connection"),
        }
    }
}

impl std::error::Error for SendError {}

/// Tells what has become of a chain: a future, or [`wait`](Self::wait). Dropping it changes nothing for the chain.
#[derive(Debug)]
pub struct Receipt(Pending<Result<(), SendError>>);

impl Receipt {
    pub(super) fn new(pending: Pending<Result<(), SendError>>) -> Self {
        Self(pending)
    }

    /// Blocks until the transport has taken every byte. Not to be called on a loop's thread.
    ///
    /// # Errors
    /// When the connection is closed before.
    pub fn wait(self) -> Result<(), SendError> {
        settle(self.0.wait())
    }

    /// As [`wait`](Self::wait), until a deadline; `None` when it has passed. The receipt can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<(), SendError>> {
        self.0.wait_until(deadline).map(settle)
    }
}

impl Future for Receipt {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(settle)
    }
}

/// A command that was dropped with its loop has sent nothing.
fn settle(answer: Result<Result<(), SendError>, Abandoned>) -> Result<(), SendError> {
    answer.unwrap_or(Err(SendError { taken: 0, why: SendFailure::Closed }))
}

/// The receipts of one connection.
pub(crate) struct Receipts {
    queued: u64,
    sent: u64,
    waiting: VecDeque<Waiting>,
    /// What is told to those who still wait at the end.
    why: SendFailure,
}

struct Waiting {
    start: u64,
    end: u64,
    promise: Promise<Result<(), SendError>>,
}

impl Receipts {
    /// For a connection with so many bytes queued and not sent.
    pub(crate) fn new(unsent: usize) -> Self {
        Self { queued: unsent as u64, sent: 0, waiting: VecDeque::new(), why: SendFailure::Closed }
    }

    /// The connection goes on without its loop.
    pub(crate) fn go_elsewhere(&mut self) {
        self.why = SendFailure::Detached;
    }

    /// Bytes are queued.
    pub(crate) fn queued(&mut self, bytes: usize) {
        self.queued += bytes as u64;
    }

    /// Somebody waits for the bytes that are queued next.
    pub(crate) fn promise(&mut self, bytes: usize, promise: Promise<Result<(), SendError>>) {
        let start = self.queued;
        self.waiting.push_back(Waiting { start, end: start + bytes as u64, promise });
    }

    /// Bytes are sent. Answers whether anybody still waits.
    pub(crate) fn sent(&mut self, bytes: usize) -> bool {
        self.sent += bytes as u64;
        while let Some(done) = self.waiting.pop_front_if(|it| it.end <= self.sent) {
            done.promise.fulfil(Ok(()));
        }
        !self.waiting.is_empty()
    }
}

impl Drop for Receipts {
    /// The connection is closed: whoever still waits learns how far it came.
    fn drop(&mut self) {
        for Waiting { start, promise, .. } in self.waiting.drain(..) {
            let taken = usize::try_from(self.sent.saturating_sub(start)).unwrap_or(usize::MAX);
            promise.fulfil(Err(SendError { taken, why: self.why }));
        }
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
