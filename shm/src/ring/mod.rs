//! A ring of records from one process to another: one producer, one consumer, and no byte that both write.
//!
//! ```text
//!    the producer's region                                     the consumer's region
//!    tail, space_at   | head .... records .... tail .... |     head, wake_at
//! ```
//!
//! # Rules
//!
//! 1. Counters run freely. `head`, `tail` and every record are multiples of 8, so there is always room for a head, and
//!    a record never reaches over the end of the ring: *padding* skips what is left there.
//! 2. A record with its head is at most a quarter of the ring. With the padding in front of it, it takes less than half.
//! 3. The consumer publishes its head when it has consumed a quarter of the ring since it last did, and before it
//!    sleeps. So less than a quarter is ever held back, and a producer that waits for half of the ring gets it.
//! 4. The record that ends the direction takes 8 bytes, which other records leave free. It comes after all that was
//!    pushed before, by the same way, and cannot be lost in a full ring.
//! 5. Each side keeps what it knows of the other (`seen`, `head`), and takes the other's word only when it is possible:
//!    aligned, never behind the last, never ahead of what can be. The first impossible word latches a
//!    [`Violation`](crate::Violation).
//! 6. The head of a record is copied out once, checked, then used. Its bytes are copied out.
//!
//! How a side sleeps and is woken: [`wake`](crate::wake).

mod consumer;
#[cfg(test)]
mod models;
mod producer;
mod record;
#[cfg(test)]
mod tests;

pub use consumer::{Consumer, Reader, Record};
pub use producer::{Producer, PushError, Room};
pub use record::{HEADER, Kind};

use crate::storage::{Index, Storage};

/// The most that a record may take of a ring, with its head.
#[inline(always)]
const fn most(capacity: usize) -> usize {
    capacity / 4
}

/// Both ends of this side: the producer of its own ring and the consumer of the peer's. With loans:
/// [`slots::ends`](crate::slots::ends).
pub fn ends<S: Storage>(storage: S) -> (Producer<S>, Consumer<S>) {
    ends_at(storage, S::Index::ZERO, S::Index::ZERO)
}

/// As [`ends`], where the counters of the own ring begin at `own`, and those of the peer's at `peer`.
#[expect(unsafe_code, reason = "of a session's producers there must be one")]
pub(crate) fn ends_at<S: Storage>(storage: S, own: S::Index, peer: S::Index) -> (Producer<S>, Consumer<S>) {
    // SAFETY: the consumer writes nothing but words.
    let alias = unsafe { storage.alias() };
    let consumer = Consumer::new(alias, peer);
    // SAFETY: the storage was the only handle, or its other aliases write no records.
    (unsafe { Producer::new(storage, own) }, consumer)
}
