//! The half that writes.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::block_on::{Patience, block_on};
use super::blocks::Blocks;
use super::shared::Shared;
use super::streak::Streak;
use super::{Ended, MOST_PIECES, Options};
use crate::buffer::{Chain, LinkWriter, ReaderGone};
use crate::conn::{Handle, Receipt};
use crate::net::Address;
use crate::sync::{Arc, Ordering, fence};

/// The writing half of a [`Stream`](super::Stream). Dropping it ends our direction behind everything written, as
/// dropping a socket does, also during a panic; to take back what is not sent yet, abort the connection through its
/// [handle](Self::handle).
///
/// The methods of `Write`, and those here that say so, block the calling thread while the loop has too much to send.
/// They must not be called on a loop's thread, which would wait for itself.
///
/// Errors carry an [`Ended`] as their source. Writing after the end of our direction is `BrokenPipe`. A blocking call
/// that takes longer than it may fails with `TimedOut`; what it has not taken is not written.
pub struct WriteHalf {
    pub(super) shared: Arc<Shared>,
    /// None once our direction is ended.
    outgoing: Option<LinkWriter>,
    high: usize,
    blocks: Blocks,
    /// Pieces written since the loop was last seen to have taken all.
    pieces: usize,
    /// Tells when the transport has what the loop has taken.
    receipt: Option<Receipt>,
    /// Our direction is ended, and everything is sent.
    sent: bool,
    patience: Patience,
    streak: Streak,
}

impl WriteHalf {
    pub(super) fn new(shared: Arc<Shared>, outgoing: LinkWriter, options: Options) -> Self {
        Self {
            shared,
            outgoing: Some(outgoing),
            high: options.high.max(1),
            blocks: Blocks::default(),
            pieces: 0,
            receipt: None,
            sent: false,
            patience: Patience::default(),
            streak: Streak::default(),
        }
    }

    /// How long each blocking call may take; `None`, the default, for ever.
    ///
    /// # Errors
    /// `InvalidInput` for a duration of zero.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.patience.set_timeout(timeout)
    }

    /// See [`set_write_timeout`](Self::set_write_timeout).
    #[must_use]
    pub fn write_timeout(&self) -> Option<Duration> {
        self.patience.timeout()
    }

    /// When all blocking calls have to end; `None`, the default, never.
    pub fn set_write_deadline(&mut self, deadline: Option<Instant>) {
        self.patience.set_deadline(deadline);
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.shared.peer
    }

    /// The handle of the connection. What is sent through it comes somewhere between what is written here.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// Why the connection is gone, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended()
    }

    /// Waits until there is room. Blocks.
    ///
    /// # Errors
    /// When the connection is gone or our direction is ended, and `TimedOut`.
    pub fn wait_writable(&mut self) -> io::Result<()> {
        self.wait_room().map(drop)
    }

    /// As [`wait_writable`](Self::wait_writable), for a task.
    ///
    /// # Errors
    /// When the connection is gone or our direction is ended.
    pub fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(context.waker()).map_ok(drop)
    }

    /// Writes a chain without copying, when there is room for anything; it is taken whole, however large it is. Blocks
    /// until then.
    ///
    /// # Errors
    /// As [`wait_writable`](Self::wait_writable); the chain is dropped then.
    pub fn write_chain(&mut self, chain: Chain) -> io::Result<()> {
        self.wait_room()?;
        self.push(chain)
    }

    /// As [`write_chain`](Self::write_chain), for a task. The chain is taken out when it is written, and only then.
    ///
    /// # Errors
    /// As [`poll_writable`](Self::poll_writable); the chain is left in its place, or dropped with the connection.
    pub fn poll_write_chain(&mut self, context: &mut Context<'_>, chain: &mut Chain) -> Poll<io::Result<()>> {
        self.poll_room(context.waker())?.map(|_| self.push(std::mem::take(chain)))
    }

    /// Ends our direction behind everything written; the peer sees the end after it. Never blocks.
    pub fn end(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.finish();
            self.receipt = None;
            self.shared.handle.wake();
        }
    }

    /// Ends our direction, and waits until the transport has taken everything. Blocks.
    ///
    /// # Errors
    /// When the connection is gone before that, and `TimedOut`; then this can be called again.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end();
        self.wait_sent()
    }

    /// As [`finish`](Self::finish), for a task.
    ///
    /// # Errors
    /// When the connection is gone before everything is sent.
    pub fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        self.poll_sent(context)
    }

    /// Waits until the transport has taken everything written so far; whether the peer has it, nobody can tell. Blocks.
    ///
    /// # Errors
    /// When the connection is gone before that, and `TimedOut`.
    pub fn wait_sent(&mut self) -> io::Result<()> {
        block_on(self.patience, |waker| self.poll_sent(&mut Context::from_waker(waker)))
            .inspect_err(|_| self.shared.writable.clear())
    }

    /// As [`wait_sent`](Self::wait_sent), as a future.
    ///
    /// # Errors
    /// When the connection is gone before everything is sent.
    pub async fn sent(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_sent(context)).await
    }

    /// As [`wait_sent`](Self::wait_sent), for a task.
    ///
    /// # Errors
    /// When the connection is gone before everything is sent.
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sent {
            return Poll::Ready(Ok(()));
        }
        // First the loop has to take everything, then the transport.
        ready!(self.poll_taken(context.waker()))?;
        let receipt = self.receipt.get_or_insert_with(|| self.shared.handle.send(Chain::new()));
        let Poll::Ready(outcome) = std::pin::Pin::new(receipt).poll(context) else { return Poll::Pending };
        self.receipt = None;
        if outcome.is_err() {
            // Handles may know that the connection is closed before the stream is told why, which wakes it again.
            self.shared.writable.register(context.waker());
            match self.shared.ended() {
                None => return Poll::Pending,
                // A connection that was closed in good order has sent everything before.
                Some(why) if why.is_orderly() => {}
                Some(why) => return Poll::Ready(Err(why.write_error())),
            }
        }
        self.sent = self.outgoing.is_none();
        Poll::Ready(Ok(()))
    }

    /// Waits until the loop has taken everything that was written, and the end.
    fn poll_taken(&self, waker: &Waker) -> Poll<io::Result<()>> {
        if self.is_taken() {
            return Poll::Ready(Ok(()));
        }
        self.shared.writable.register(waker);
        // In this order: once the loop's end is seen to be gone, what it had taken by then is known, too.
        let gone = match &self.outgoing {
            Some(outgoing) => outgoing.is_reader_gone(),
            None => self.shared.ended().is_some(),
        };
        match self.is_taken() {
            true => Poll::Ready(Ok(())),
            false if gone => Poll::Ready(Err(self.why_gone().write_error())),
            false => Poll::Pending,
        }
    }

    /// Why the loop's end is gone, which was seen in the buffer.
    fn why_gone(&self) -> Ended {
        // ORDERING: Acquire fence: pairs, by the word in which the loop's end was seen to be gone, with the Release of
        // `LinkReader`'s drop: why it is gone was stored before.
        fence(Ordering::Acquire);
        self.shared.ended().unwrap_or(Ended::LoopGone)
    }

    /// Whether the loop has taken everything that was written, and the end.
    fn is_taken(&self) -> bool {
        match &self.outgoing {
            Some(outgoing) => outgoing.unconsumed() == 0,
            None => self.shared.is_taken(),
        }
    }

    /// The bytes there is room for, or why there will never be any.
    fn room(&mut self) -> Option<io::Result<usize>> {
        let Some(outgoing) = &self.outgoing else {
            return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the direction is ended")));
        };
        if let Some(why) = self.shared.ended() {
            return Some(Err(why.write_error()));
        }
        let waiting = usize::try_from(outgoing.unconsumed()).unwrap_or(usize::MAX);
        if waiting == 0 {
            self.pieces = 0;
        }
        let room = self.high.saturating_sub(waiting);
        (room > 0 && self.pieces < MOST_PIECES).then_some(Ok(room))
    }

    fn wait_room(&mut self) -> io::Result<usize> {
        match self.room() {
            Some(outcome) => outcome,
            None => block_on(self.patience, |waker| self.poll_room_with(waker))
                .inspect_err(|_| self.shared.writable.clear()),
        }
    }

    fn poll_room(&mut self, waker: &Waker) -> Poll<io::Result<usize>> {
        if self.streak.is_over(waker) {
            return Poll::Pending;
        }
        match self.room() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.streak.end();
                self.poll_room_with(waker)
            }
        }
    }

    fn poll_room_with(&mut self, waker: &Waker) -> Poll<io::Result<usize>> {
        self.shared.writable.register(waker);
        match self.room() {
            Some(outcome) => {
                self.shared.writable.clear();
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }

    /// Copies as much as there is room for.
    fn copy(&mut self, parts: &[IoSlice<'_>], room: usize) -> io::Result<usize> {
        let mut chain = Chain::new();
        for part in parts {
            let n = part.len().min(room - chain.len());
            if let Err(error) = self.blocks.write(&part[..n], &mut chain) {
                if chain.is_empty() {
                    return Err(error.into());
                }
                break;
            }
        }
        let written = chain.len();
        self.push(chain)?;
        Ok(written)
    }

    /// Gives a chain to the loop.
    fn push(&mut self, chain: Chain) -> io::Result<()> {
        if chain.is_empty() {
            return Ok(());
        }
        let Some(outgoing) = &mut self.outgoing else { return Err(io::ErrorKind::BrokenPipe.into()) };
        self.pieces += chain.pieces();
        self.receipt = None;
        if let Err(ReaderGone(_)) = outgoing.push(chain) {
            return Err(self.why_gone().write_error());
        }
        self.shared.handle.wake();
        Ok(())
    }

    /// Copies as much of the parts as there is room for, once there is any, and answers how much; for a task.
    ///
    /// # Errors
    /// As [`poll_writable`](Self::poll_writable), and when there is no memory for any of it.
    pub fn poll_write_parts(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_room(context.waker())?.map(|room| self.copy(parts, room))
    }
}

impl Write for WriteHalf {
    /// Copies as much as there is room for into a block of the stream, and gives it to the loop.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = self.wait_room()?;
        self.copy(parts, room)
    }

    /// Does nothing: written bytes are the loop's already. See [`wait_sent`](WriteHalf::wait_sent) for what `Ok` does
    /// not say.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.shared.writable.clear();
        self.end();
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHalf")
            .field("peer", &self.shared.peer)
            .field("ended", &self.outgoing.is_none())
            .finish_non_exhaustive()
    }
}
