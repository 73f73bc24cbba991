//! Drivers with few buffers to receive into.
//!
//! A segment that is held takes its buffer away from the driver, and when the last one is held nothing more arrives: a
//! message that needs one more buffer than there are would never become whole. So nothing is held.
//!
//! | what | where it lies |
//! |---|---|
//! | bytes that nobody handles yet | copied on arrival |
//! | bytes for a handler that may keep parts of them | copied on arrival |
//! | bytes for a handler that [reads in place](crate::service::Handler::reads_in_place) | in the driver's buffer during the call; what the call leaves unread is copied after it |
//! | bytes that leave with their connection | copied when it leaves |
//!
//! So outside of a call, no connection of the loop holds such a buffer, and during one just one does.

use super::Reactor;
use crate::buffer::{BlockPool, Chain, Segment};
use crate::conn::Arrival;
use crate::driver::{Driver, Key};

/// Bytes fewer than these are copied into a block of their size, outside of the pool.
const FEW: usize = 4 << 10;

impl<D: Driver> Reactor<D> {
    /// Bytes have arrived in a buffer that the driver wants back soon.
    #[cold]
    pub(super) fn received_scarce(&mut self, key: Key, segment: Segment, arrival: Arrival) {
        let Some(connection) = self.slots.connection(key) else { return };
        let handles = arrival == Arrival::Handle;
        let in_place = handles && connection.handler.as_ref().is_some_and(|it| it.reads_in_place());
        connection.holds_scarce = in_place;
        connection.input.push(if in_place { segment } else { kept(&segment, self.driver.pool()) });
        if handles {
            self.call_data(key);
        } else {
            connection.input.compact();
        }
    }
}

/// Copies of all pieces of a chain.
pub(super) fn all_kept(bytes: &Chain, pool: &BlockPool) -> Chain {
    let mut copies = Chain::new();
    copies.extend(bytes.segments().map(|segment| kept(segment, pool)));
    copies
}

/// A copy, in memory that may be held. Many bytes lie in the pool, where they count for the memory budget, unless it is
/// used up.
pub(super) fn kept(segment: &Segment, pool: &BlockPool) -> Segment {
    let n = segment.len();
    if n < FEW {
        return Segment::copy_of(segment);
    }
    match pool.allocate(n) {
        Ok(mut tail) => {
            tail.spare()[..n].copy_from_slice(segment);
            tail.commit(n)
        }
        Err(_) => Segment::copy_of(segment),
    }
}
