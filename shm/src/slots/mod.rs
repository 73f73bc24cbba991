//! Memory lent to the peer: large bytes are not put into the ring, but described there.
//!
//! ```text
//!    lender                                        borrower
//!    segment -> InFlight, ticket
//!    record Lent { arena, offset, length, ticket } -> checks, copies the bytes out
//!    InFlight -> segment, dropped              <- release ring: ticket; `released`
//! ```
//!
//! # Rules
//!
//! 1. A [`Loan`] is a record in the ring, in order with all other bytes. The borrower checks it against the memory that
//!    it was shown, copies the bytes out once, and releases the ticket.
//! 2. A ticket is an index and a generation. The lender believes none that is not in its private [table](InFlight):
//!    what is unknown, stale or released twice is a violation.
//! 3. At most as many tickets are in flight as the release ring has entries, so it can never be full, and the borrower
//!    never waits for the lender.
//! 4. Memory of an [`Arena`] is a block of the core, with a count: it is written again only when the table has dropped its
//!    segment *and* no segment of it is left on this side.
//! 5. Who waits for memory to come back asks for a doorbell ([`Lender::park`]). An arena that has nothing to give makes
//!    nobody wait: the bytes go through the ring.
//!
//! A slot of the arena is free, lent out on this side, or in flight, and never two of them. A peer that dies gives back
//! nothing; the table is dropped with the session, and the arena's memory with its last segment.

mod arena;
mod in_flight;
mod lending;
mod loan;
#[cfg(test)]
mod models;
mod runs;
#[cfg(test)]
mod tests;

pub use arena::{Arena, ArenaMemory, Placed};
pub use in_flight::InFlight;
pub use lending::{Borrower, Ends, Lender, ends};
pub use loan::Loan;
pub use runs::CHUNK;
