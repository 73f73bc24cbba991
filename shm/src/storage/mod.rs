//! The memory of a session, as the rings see it: one region of our own, one of the peer's.
//!
//! # Rules
//!
//! 1. Each word and each byte has one writer: the owner of its region. Our own words are only stored to, the peer's are
//!    only loaded ([`OwnWord`], [`PeerWord`]); what we have stored we remember, and never read back.
//! 2. The peer's bytes may change at any time. They are copied out; no reference to them is ever made.
//! 3. Our own region is written by us alone, so a `&mut [u8]` into it is sound. The peer maps it read-only.
//!
//! Everything above is generic over [`Storage`] and its [`Index`]: [`Mapped`] ships, and the proofs run the same code in
//! memory that the model checker watches, with counters whose values can all be tried.
#![expect(unsafe_code, reason = "that a byte has one writer is a promise")]

mod copy;
mod foreign;
mod index;
mod mapped;
mod regions;
#[cfg(test)]
pub(crate) mod witnessed;

use linkpoll::sync::Ordering;

pub use foreign::{PeerMemory, copy_out};
pub use index::Index;
pub use mapped::{BadGeometry, Mapped, Regions};

use crate::layout;

/// The shared counters and thresholds; see [`layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Bytes published in the owner's ring.
    Tail,
    /// Bytes that the owner has consumed from the other's ring.
    Head,
    /// Releases that the owner has published.
    Released,
    /// The owner wants a doorbell once the other's tail passes this.
    WakeAt,
    /// The owner wants a doorbell once the other's head passes this.
    SpaceAt,
    /// The owner wants a doorbell once the other has published more releases than this.
    ReleaseAt,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Tail, Self::Head, Self::Released, Self::WakeAt, Self::SpaceAt, Self::ReleaseAt];

    /// Where the word lies in a region, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> usize {
        match self {
            Self::Tail => layout::TAIL,
            Self::Head => layout::HEAD,
            Self::Released => layout::RELEASED,
            Self::WakeAt => layout::WAKE_AT,
            Self::SpaceAt => layout::SPACE_AT,
            Self::ReleaseAt => layout::RELEASE_AT,
        }
    }
}

/// A word of our own region.
pub trait OwnWord<I> {
    /// Stores a value for the peer.
    #[track_caller]
    fn store(&self, value: I, order: Ordering);
}

/// A word of the peer's region.
pub trait PeerWord<I> {
    /// Loads what the peer has stored, which may be anything.
    #[track_caller]
    fn load(&self, order: Ordering) -> I;
}

/// The two regions of a session. Offsets in a ring are in bytes, from its first; none of these functions wraps.
pub trait Storage: Sized {
    /// The type of the counters.
    type Index: Index;
    /// A word of our own.
    type Own<'a>: OwnWord<Self::Index>
    where
        Self: 'a;
    /// A word of the peer's.
    type Peer<'a>: PeerWord<Self::Index>
    where
        Self: 'a;

    /// The size of our own ring in bytes: a power of two, at most half of what the counters can tell apart.
    fn own_capacity(&self) -> usize;

    /// The size of the peer's ring in bytes, likewise.
    fn peer_capacity(&self) -> usize;

    /// How many releases a region has room for: a power of two.
    fn releases(&self) -> usize;

    /// A word of our own region.
    fn own(&self, word: Word) -> Self::Own<'_>;

    /// A word of the peer's region.
    fn peer(&self, word: Word) -> Self::Peer<'_>;

    /// Writes the head of a record into our own ring.
    ///
    /// # Panics
    /// When `at` is not a multiple of 8, or not inside of the ring.
    fn put_header(&mut self, at: usize, header: u64);

    /// Bytes of our own ring, for writing.
    ///
    /// # Panics
    /// When they are not all inside of the ring.
    fn ring_mut(&mut self, at: usize, len: usize) -> &mut [u8];

    /// Bytes of the peer's ring will be read soon, those from `at` on up to its end at most. A hint: the processor may fetch
    /// all of them at once.
    #[inline(always)]
    fn anticipate(&self, at: usize, len: usize) {
        let _ = (at, len);
    }

    /// Copies the head of a record out of the peer's ring, once.
    ///
    /// # Panics
    /// When `at` is not a multiple of 8, or not inside of the ring.
    fn header(&self, at: usize) -> u64;

    /// Copies bytes out of the peer's ring, each once or, if the peer changes them meanwhile, to any value.
    ///
    /// # Panics
    /// When they are not all inside of the ring.
    fn copy_out(&self, at: usize, into: &mut [u8]);

    /// Writes an entry of our own release ring.
    ///
    /// # Panics
    /// When there is no such entry.
    fn put_release(&mut self, at: usize, ticket: u32);

    /// Copies an entry out of the peer's release ring.
    ///
    /// # Panics
    /// When there is no such entry.
    fn release(&self, at: usize) -> u32;

    /// Another handle of the same regions.
    ///
    /// # Safety
    /// Of all handles of a session, only one uses `put_header` and `ring_mut`, and only one `put_release`.
    #[must_use]
    unsafe fn alias(&self) -> Self;
}
