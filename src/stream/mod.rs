//! Connections handed off to another thread or task, as blocking or asynchronous streams of bytes.
//!
//! ```text
//!            loop thread                                        any thread, any executor
//!   driver -> input --move--> [ incoming: LinkBuffer ] --take--> ReadHalf    Read, BufRead, AsyncRead
//!   driver <- output <-link-- [ outgoing: LinkBuffer ] <--push-- WriteHalf   Write, AsyncWrite
//! ```
//!
//! A [`Stream`] is two [`LinkBuffer`](crate::buffer::LinkBuffer)s between a handler on the loop and whoever has the
//! stream. Segments are passed on, not copied: received bytes are read where the kernel put them, and written bytes are
//! copied once, into a block of the stream, which is sent from there. Wake-ups come from the loop, so a stream works on
//! any executor, and on none.
//!
//! # Who waits for whom
//!
//! | who waits | for what | where it looks | who wakes it, after what | how |
//! |---|---|---|---|---|
//! | reader | bytes, the end | `incoming.published` | loop, after a push or an end | `WakerSlot` `readable` |
//! | writer | room; that the loop has taken everything | `outgoing.consumed`, `word` | loop, after it took bytes | `WakerSlot` `writable` |
//! | both | that the connection is gone | `word`, then the end of `incoming` | loop, after `closed` | both slots |
//! | loop | bytes to send, the writer's end | `outgoing.published` | writer, after a push or its end | the handle's signal |
//! | loop, paused | that the reader has consumed | `incoming.consumed` | reader, after a report | `SleepFlag` `full`, then the signal |
//! | loop | that the reader is gone | `incoming.consumed` | reader, after it is dropped | the signal |
//!
//! In each row the waiting side announces itself, fences, and looks once more, and the other side publishes, fences,
//! and looks for the announcement ([`handover`](crate::handover)); a signal needs no fence, since the same word carries
//! the news. So nobody sleeps on news, whoever comes first. The models in `models.rs` run these rows on the code that
//! ships.
//!
//! # Flow control
//!
//! * *Incoming.* Above [`Options::high`] unread bytes (or very many small pieces) the connection is paused, and the peer
//!   comes to a stand through its transport. At [`Options::low`] or fewer it goes on.
//! * *Memory.* Unread bytes count as held by the connection when the loop is over its memory budget.
//! * *Outgoing.* The loop leaves bytes where they are while the connection is congested
//!   ([`Marks`](crate::conn::Marks)). A writer waits while [`Options::high`] bytes are not taken by the loop. So a peer
//!   that never reads costs both marks, and no more.
//!
//! # Ends
//!
//! | what happens | reader | writer |
//! |---|---|---|
//! | the peer ends its direction | all bytes, then the end | goes on |
//! | the writer ends, or is dropped | goes on | the peer gets all bytes, then the end; later writes: `BrokenPipe` |
//! | the reader is dropped | | goes on; what arrives is thrown away |
//! | both are dropped, or ended | | all bytes are sent, then the connection is closed |
//! | the connection breaks, or a limit ends it | all bytes, then an error with an [`Ended`] in it | the same error at once |
//! | the server stops | all bytes so far, then the end ([`AtDrain::End`]) | goes on until the drain limit |
//! | the loop is gone | all bytes, then an error | an error |
//!
//! # Flushing
//!
//! Written bytes belong to the loop at once, as those written to a socket belong to the kernel: they are sent even when
//! the stream is dropped right after. So `flush` has nothing to do, and its `Ok` says as little as a socket's. It does
//! *not* say that the transport has taken the bytes: for that there are [`WriteHalf::wait_sent`] and
//! [`WriteHalf::poll_sent`]. Ending a direction by [`WriteHalf::finish`], or the closing of the asynchronous traits,
//! waits in the same way, so that a break at the very end is not missed.
//!
//! # Traits
//!
//! The blocking traits of `std` and the asynchronous ones have methods of the same names. Code that imports both must
//! say which it means; so import one kind a module.

mod block_on;
mod blocks;
mod connecting;
mod ended;
#[cfg(feature = "futures-io")]
mod futures_io;
mod hand_off;
mod loop_end;
#[cfg(test)]
mod models;
mod read_half;
mod shared;
mod streak;
#[cfg(feature = "tokio")]
mod tokio;
mod whole;
mod write_half;

pub use connecting::Connecting;
pub use ended::Ended;
pub use hand_off::{HandOff, hand_off};
pub use read_half::ReadHalf;
pub use whole::Stream;
pub use write_half::WriteHalf;

/// How a stream behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// In bytes: with more unread, nothing is received; with as many written and not taken by the loop, a writer
    /// waits. Default: 256 KiB.
    pub high: usize,
    /// With at most so many bytes unread, receiving goes on. Default: 64 KiB.
    pub low: usize,
    /// What a reader sees when the server stops. Default: the end.
    pub at_drain: AtDrain,
}

impl Default for Options {
    fn default() -> Self {
        Self { high: 256 << 10, low: 64 << 10, at_drain: AtDrain::End }
    }
}

/// What a reader sees when the server begins to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtDrain {
    /// The end of the stream, after the bytes received so far, as if the peer had ended. A server that reads requests
    /// until the end finishes the one it has, and closes.
    End,
    /// Nothing. The connection goes on until the drain limit, and is closed then.
    GoOn,
}

/// Pieces on the way to a reader before small ones are copied out of the loop's blocks, which they would keep.
const PINNED_PIECES: usize = 16;
/// Pieces on the way in either direction before one waits until all are taken: each costs memory of its own.
const MOST_PIECES: usize = crate::sync::shrink(256, 2);
/// Bytes that a reader consumes before it reports them in the middle of a piece.
const REPORT: usize = crate::sync::shrink(32 << 10, 1);
