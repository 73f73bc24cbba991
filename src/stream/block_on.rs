//! Blocking a thread on what tasks poll for.

use std::io;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::sync::Parker;

/// How long a blocking call of one half may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Patience {
    /// A limit for each call.
    pub(super) fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|it| it.is_zero()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout of zero"));
        }
        self.timeout = timeout;
        Ok(())
    }

    /// A limit for all calls.
    pub(super) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// When a call that begins now has to end. A time beyond the end of time is none.
    fn until(&self) -> Option<Instant> {
        let timeout = self.timeout.and_then(|it| Instant::now().checked_add(it));
        [timeout, self.deadline].into_iter().flatten().min()
    }
}

/// Blocks until `poll` is ready; it is to see to it that the waker is woken then.
///
/// # Errors
/// Those of `poll`, and `TimedOut`.
pub(super) fn block_on<T>(
    patience: Patience,
    mut poll: impl FnMut(&Waker) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    let until = patience.until();
    let parker = Parker::current();
    let waker = parker.waker();
    loop {
        if let Poll::Ready(outcome) = poll(&waker) {
            return outcome;
        }
        match until {
            None => parker.park(),
            Some(at) if Instant::now() < at => parker.park_until(at),
            Some(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
