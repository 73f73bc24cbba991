//! Bytes that are passed on, not copied.
//!
//! ```text
//!   Block   | header: count, origin | bytes .................................. |
//!                                     |--- Segment ---|-- Segment --|-- Tail --|
//!                                       written, immutable, counted   unwritten, one owner
//! ```
//!
//! * A [`Block`] is raw memory with a reference count and an [`Origin`] that takes it back.
//! * A [`Tail`] owns the unwritten rest of a block. It is the only right to write, and cannot be cloned.
//! * A [`Segment`] is a counted, immutable view of written bytes; cloning and slicing copy nothing.
//! * A [`BlockPool`] hands out blocks on one thread and takes them back from any.
//! * A [`Chain`] is a queue of segments on one thread, with all the reading operations.
//! * A [`SegmentWriter`] fills tails and yields chains.
//! * A [`LinkBuffer`] passes segments from one thread to another; neither ever waits for the other.
//!
//! Borrowing replaces the explicit release calls of other linked buffers: what `peek` and `next` return is valid as
//! long as the borrow lives, and what is kept longer is a [`Segment`].

mod block;
mod chain;
mod error;
mod heap;
mod lender;
mod link_buffer;
#[cfg(test)]
mod models;
mod pool;
mod segment;
mod spent;
mod tail;
mod writer;

pub use block::{Block, Header, Origin};
pub use chain::{Chain, ReadError, Short};
pub use error::AllocError;
pub(crate) use lender::Lender;
pub use link_buffer::{LinkBuffer, LinkReader, LinkWriter, ReaderGone, Refill, Severed};
pub use pool::{BlockPool, PoolOptions, PoolUsage};
pub use segment::Segment;
pub use spent::Spent;
pub use tail::Tail;
pub use writer::{Hole, Reserved, SegmentWriter, WriteError};
pub(crate) use writer::{Port, Source};
