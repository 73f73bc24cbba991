//! What stands in for fault injection in a build without it: nothing.

use nix::errno::Errno;

pub use super::site::{Site, at, at_most};

/// Where a package calls the kernel, or where a process may be killed between two calls.
pub trait Place: Copy {}

impl Place for Site {}

/// The process comes to a place at which it calls nobody.
#[inline(always)]
pub fn pass(_place: impl Place) {}

/// How a call is to go.
pub(super) struct Passage {
    /// It is not made, and fails with this.
    pub(super) instead: Option<Errno>,
    /// It is made, and fails with this.
    pub(super) besides: Option<Errno>,
    /// It may move so many bytes, or report so many events.
    pub(super) most: usize,
}

#[inline(always)]
pub(super) fn enter(_site: impl Place) -> Passage {
    Passage { instead: None, besides: None, most: usize::MAX }
}

#[inline(always)]
pub(super) fn leave(_site: impl Place, _passage: &Passage) {}
