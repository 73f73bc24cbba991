//! The regions of a session as storage.
#![expect(unsafe_code, reason = "regions promise what storage asks for")]

use std::ptr::NonNull;

use super::{PeerMemory, Regions};
use crate::region::{OwnRegion, PeerRegion};
use crate::slots::ArenaMemory;

// SAFETY: both are mapped as long as they live; `OwnRegion` is mapped for writing, and sealed so that no other process
// writes there; `PeerRegion` has checked the seal that forbids to shrink it. In this process, who has an own region has all
// of it: it cannot be cloned, and gives a raw pointer away only.
unsafe impl Regions for (OwnRegion, PeerRegion) {
    fn own(&self) -> (NonNull<u8>, usize) {
        (self.0.base(), self.0.len())
    }

    fn peer(&self) -> (NonNull<u8>, usize) {
        (self.1.base(), self.1.len())
    }
}

// SAFETY: as above.
unsafe impl PeerMemory for PeerRegion {
    fn range(&self) -> (NonNull<u8>, usize) {
        (self.base(), self.len())
    }
}

// SAFETY: as above; the kernel zeroes new memory.
unsafe impl ArenaMemory for OwnRegion {
    fn range(&self) -> (NonNull<u8>, usize) {
        (self.base(), self.len())
    }
}
