//! What stands in for fault injection in a build without it: nothing.

use nix::errno::Errno;

use super::Site;

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
pub(super) fn enter(_site: Site) -> Passage {
    Passage { instead: None, besides: None, most: usize::MAX }
}

#[inline(always)]
pub(super) fn leave(_site: Site, _passage: &Passage) {}
