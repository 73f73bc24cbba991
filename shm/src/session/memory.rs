//! The two regions of a session, as the rings want them.
#![expect(unsafe_code, reason = "promises about mapped memory")]

use std::ptr::NonNull;

use crate::region::{OwnRegion, PeerRegion};
use crate::storage::Regions;

/// Our region and the peer's. Dropped, they are unmapped.
#[derive(Debug)]
pub struct Memory {
    pub(super) own: OwnRegion,
    pub(super) peer: PeerRegion,
}

// SAFETY: both regions are mapped, at pages, until they are dropped: ours for writing, the peer's for reading, sealed
// against shrinking. `Session::new` is the only one that makes a value of this type, and gives the address of our region to
// nobody but the one `Mapped`.
unsafe impl Regions for Memory {
    fn own(&self) -> (NonNull<u8>, usize) {
        (self.own.base(), self.own.len())
    }

    fn peer(&self) -> (NonNull<u8>, usize) {
        (self.peer.base(), self.peer.len())
    }
}
