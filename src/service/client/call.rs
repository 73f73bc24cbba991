//! One call, as its caller sees it.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::conn::CloseReason;
use crate::handover::{Abandoned, Pending};
use crate::service::HandlerError;
use crate::sync::Arc;

/// Why a call has no reply.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The connection was closed after the request was handed to it, for this reason. Whether the peer has seen the
    /// request nobody can tell.
    Closed(Arc<CloseReason>),
    /// The connection was closed, or is closing, and the request was not sent: another connection may be tried.
    NotSent,
    /// Too many calls are under way, or too many bytes wait to be sent. The request was not sent.
    Full,
    /// The request cannot be written. It was not sent.
    Unwritable(Arc<HandlerError>),
    /// The time to wait was over. The request may have been sent.
    TimedOut,
}

impl CallError {
    /// Whether the peer has certainly not seen the request.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::NotSent | Self::Full | Self::Unwritable(_))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(why) => write!(f, "no reply: {}", **why),
            Self::NotSent => f.write_str("not sent: the connection is closed"),
            Self::Full => f.write_str("not sent: too much is under way"),
            Self::Unwritable(error) => write!(f, "not sent: {}", **error),
            Self::TimedOut => f.write_str("no reply in time"),
        }
    }
}

impl Error for CallError {}

/// A reply has come that belongs to no call; the connection is closed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnexpectedReply;

impl fmt::Display for UnexpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reply that belongs to no call")
    }
}

impl Error for UnexpectedReply {}

/// A call under way: a future, or [`wait`](Self::wait). To drop it is to forget the call: a request that is not written
/// yet is not sent, and a reply is thrown away. Other calls are not affected.
#[must_use = "a call whose reply is not awaited is forgotten, and may not be sent"]
pub struct Call<T: Send>(Pending<Result<T, CallError>>);

impl<T: Send> Call<T> {
    pub(super) fn new(pending: Pending<Result<T, CallError>>) -> Self {
        Self(pending)
    }

    /// Blocks until the reply has come. Not to be called on a loop's thread.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn wait(self) -> Result<T, CallError> {
        settle(self.0.wait())
    }

    /// As [`wait`](Self::wait), but not longer than this; then the call is forgotten.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn wait_for(mut self, time: Duration) -> Result<T, CallError> {
        match Instant::now().checked_add(time) {
            Some(deadline) => self.wait_until(deadline).unwrap_or(Err(CallError::TimedOut)),
            None => self.wait(),
        }
    }

    /// As [`wait`](Self::wait), until a deadline; `None` when it has passed. It can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<T, CallError>> {
        self.0.wait_until(deadline).map(settle)
    }
}

impl<T: Send> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(settle)
    }
}

/// The handler ends every call; only a handler that is lost with its loop does not.
fn settle<T>(answer: Result<Result<T, CallError>, Abandoned>) -> Result<T, CallError> {
    answer.unwrap_or_else(|_| {
        let lost = io::Error::other("the loop is gone");
        Err(CallError::Closed(Arc::new(CloseReason::Broken(lost))))
    })
}

impl<T: Send> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(&self.0).finish()
    }
}
