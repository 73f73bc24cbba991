//! The half that reads.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::Deref;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::block_on::{Patience, block_on};
use super::shared::Shared;
use super::streak::Streak;
use super::{Ended, REPORT};
use crate::buffer::{Chain, LinkReader, Refill, Segment};
use crate::conn::Handle;
use crate::net::Address;
use crate::sync::Arc;

/// The reading half of a [`Stream`](super::Stream). Dropping it leaves the other half alone; what arrives from then on
/// is thrown away.
///
/// The methods of `Read` and `BufRead`, and those here that say so, block the calling thread. They must not be called
/// on a loop's thread, which would wait for itself.
///
/// Errors carry an [`Ended`] as their source, and come after all bytes that arrived before. A blocking call that takes
/// longer than it may fails with `TimedOut`, and nothing is lost.
pub struct ReadHalf {
    incoming: LinkReader,
    /// The end was seen: no bytes will follow those taken over.
    complete: bool,
    /// Bytes consumed that the loop does not know of.
    unreported: usize,
    patience: Patience,
    streak: Streak,
    /// INVARIANT: stands behind `incoming`, and so is dropped after it.
    shared: Farewell,
}

/// Wakes the loop when the half is gone: it may be paused, or have waited for this half only.
struct Farewell(Arc<Shared>);

impl Deref for Farewell {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.readable.clear();
        self.0.handle.wake();
    }
}

impl ReadHalf {
    pub(super) fn new(shared: Arc<Shared>, incoming: LinkReader) -> Self {
        Self {
            incoming,
            complete: false,
            unreported: 0,
            patience: Patience::default(),
            streak: Streak::default(),
            shared: Farewell(shared),
        }
    }

    /// How long each blocking call may take; `None`, the default, for ever.
    ///
    /// # Errors
    /// `InvalidInput` for a duration of zero.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.patience.set_timeout(timeout)
    }

    /// See [`set_read_timeout`](Self::set_read_timeout).
    #[must_use]
    pub fn read_timeout(&self) -> Option<Duration> {
        self.patience.timeout()
    }

    /// When all blocking calls have to end; `None`, the default, never.
    pub fn set_read_deadline(&mut self, deadline: Option<Instant>) {
        self.patience.set_deadline(deadline);
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.shared.peer
    }

    /// The handle of the connection.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// Why the connection is gone, once it is. There may still be bytes to read.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended()
    }

    /// Whether both are halves of one stream.
    pub(super) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared.0, shared)
    }

    /// Waits until bytes are there, and answers whether there are any: not at the end of the stream. Blocks.
    ///
    /// # Errors
    /// When the connection is gone and its end was not seen, and `TimedOut`.
    pub fn wait_readable(&mut self) -> io::Result<bool> {
        match self.look() {
            Some(outcome) => outcome,
            None => block_on(self.patience, |waker| self.poll_with(waker))
                .inspect_err(|_| self.shared.readable.clear()),
        }
    }

    /// As [`wait_readable`](Self::wait_readable), for a task. A task that comes no more loses nothing. One that finds
    /// bytes again and again is made to wait for its turn now and then, so that others have theirs.
    ///
    /// # Errors
    /// When the connection is gone and its end was not seen.
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.streak.is_over(context.waker()) {
            return Poll::Pending;
        }
        match self.look() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.streak.end();
                self.poll_with(context.waker())
            }
        }
    }

    /// Takes everything that is there, without copying; waits until there is something. Empty at the end of the stream.
    /// Blocks.
    ///
    /// # Errors
    /// As [`wait_readable`](Self::wait_readable).
    pub fn read_chain(&mut self) -> io::Result<Chain> {
        self.wait_readable()?;
        Ok(self.take())
    }

    /// As [`read_chain`](Self::read_chain), for a task.
    ///
    /// # Errors
    /// As [`poll_readable`](Self::poll_readable).
    pub fn poll_read_chain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Chain>> {
        self.poll_readable(context).map_ok(|_| self.take())
    }

    /// Takes the first piece that is there, without copying; waits until there is one. None at the end of the stream.
    /// Blocks.
    ///
    /// # Errors
    /// As [`wait_readable`](Self::wait_readable).
    pub fn next_segment(&mut self) -> io::Result<Option<Segment>> {
        self.wait_readable()?;
        let segment = self.incoming.unread().pop();
        self.consumed(segment.as_ref().map_or(0, Segment::len));
        Ok(segment)
    }

    /// The bytes that are there; never blocks. What is consumed of them makes room for the peer when the next bytes are
    /// waited for.
    pub fn unread(&mut self) -> &mut Chain {
        // The chain may be changed in any way, so nothing is known of what will be consumed.
        self.unreported = self.unreported.max(1);
        self.incoming.unread()
    }

    fn take(&mut self) -> Chain {
        let chain = std::mem::take(self.incoming.unread());
        self.consumed(chain.len());
        chain
    }

    /// The bytes of the first piece; empty at the end of the stream. To be called when bytes are there.
    pub(super) fn front(&mut self) -> &[u8] {
        self.incoming.unread().front()
    }

    /// Drops bytes from the front.
    pub(super) fn drop_front(&mut self, n: usize) {
        self.incoming.unread().consume(n);
        self.consumed(n);
    }

    /// Copies what is there.
    pub(super) fn copy(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let copied = self.incoming.unread().read(into)?;
        self.consumed(copied);
        Ok(copied)
    }

    /// Counts, and reports now and then: a reader of much makes room before it has read it all, and one that has read
    /// everything keeps no peer waiting, whatever it does next.
    fn consumed(&mut self, n: usize) {
        self.unreported += n;
        if self.unreported >= REPORT || self.incoming.unread().is_empty() {
            self.incoming.release();
            self.tell();
        }
    }

    /// Wakes the loop, if it waits for what was just reported.
    fn tell(&mut self) {
        if std::mem::take(&mut self.unreported) > 0 && self.shared.full.take() {
            self.shared.handle.wake();
        }
    }

    /// Whether there are bytes, or the end, or neither.
    pub(super) fn look(&mut self) -> Option<io::Result<bool>> {
        if !self.incoming.unread().is_empty() {
            return Some(Ok(true));
        }
        if self.complete {
            return Some(Ok(false));
        }
        let refill = self.incoming.refill();
        self.tell();
        match refill {
            Ok(Refill::Open(0)) => None,
            Ok(Refill::Open(_)) => Some(Ok(true)),
            Ok(Refill::Complete(added)) => {
                self.complete = true;
                Some(Ok(added > 0))
            }
            Err(_) => Some(Err(self.shared.ended().unwrap_or(Ended::LoopGone).read_error())),
        }
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<io::Result<bool>> {
        self.shared.readable.register(waker);
        match self.look() {
            Some(outcome) => {
                self.shared.readable.clear();
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl Read for ReadHalf {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        self.wait_readable()?;
        self.copy(into)
    }
}

impl BufRead for ReadHalf {
    /// The bytes of the first piece that is there, where the kernel put them.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.wait_readable()?;
        Ok(self.front())
    }

    fn consume(&mut self, n: usize) {
        self.drop_front(n);
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHalf")
            .field("peer", &self.shared.peer)
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}
