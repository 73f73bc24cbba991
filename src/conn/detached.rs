//! A connection that has left its loop.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::buffer::Chain;
use crate::handover::{Abandoned, Pending};
use crate::net::Address;

/// A connection that has left its loop, with every byte: the descriptor belongs to whoever has this, and nothing in the
/// library touches it again. Dropping it closes the connection.
///
/// Whoever uses the descriptor reads `received` first, and sends `unsent` first.
/// [`Dialer::take_over`](crate::net::Dialer::take_over) does both, on this loop or another.
#[derive(Debug)]
#[non_exhaustive]
pub struct Detached {
    /// The stream socket, non-blocking.
    pub fd: OwnedFd,
    /// The peer's address.
    pub peer: Address,
    /// Bytes that were received and that no handler has consumed.
    pub received: Chain,
    /// Bytes that were written and that the transport has not taken.
    pub unsent: Chain,
    /// The peer has ended its direction: nothing comes after `received`.
    pub peer_ended: bool,
    /// Our direction was to end behind `unsent`. If that is empty, it has ended; otherwise ending it (shutdown(2)) is
    /// left to whoever sends the rest.
    pub shut: bool,
}

/// A connection was not detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetachError {
    /// It is closed, or closes.
    Closed,
    /// It has no descriptor: its transport is something else. It is closed now.
    NoDescriptor,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closed",
            Self::NoDescriptor => "the connection has no descriptor",
        })
    }
}

impl std::error::Error for DetachError {}

/// A connection on its way from its loop: a future, or [`wait`](Self::wait). When this is dropped the connection leaves
/// its loop all the same, and is closed.
#[derive(Debug)]
pub struct Detaching(Pending<Result<Detached, DetachError>>);

impl Detaching {
    pub(super) fn new(pending: Pending<Result<Detached, DetachError>>) -> Self {
        Self(pending)
    }

    /// Blocks until the connection has left its loop. Not to be called on a loop's thread.
    ///
    /// # Errors
    /// When it is closed already, or has no descriptor.
    pub fn wait(self) -> Result<Detached, DetachError> {
        settle(self.0.wait())
    }

    /// As [`wait`](Self::wait), until a deadline; `None` when it has passed. It can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<Detached, DetachError>> {
        self.0.wait_until(deadline).map(settle)
    }
}

impl Future for Detaching {
    type Output = Result<Detached, DetachError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(settle)
    }
}

/// A command that was dropped with its connection has found nothing to detach.
fn settle(answer: Result<Result<Detached, DetachError>, Abandoned>) -> Result<Detached, DetachError> {
    answer.unwrap_or(Err(DetachError::Closed))
}
