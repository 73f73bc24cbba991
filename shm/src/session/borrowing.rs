//! What the peer lends to us.

use std::os::fd::OwnedFd;

use super::SessionError;
use crate::region::{PeerRegion, Unfit};
use crate::slots::Loan;
use crate::storage::copy_out;
use crate::violation::Violation;
use crate::wire::AddArena;

/// The most arenas of a peer's, so that many small ones do not take all mappings that a process may have.
const MOST_ARENAS: usize = 64;

/// A loan of so many bytes is released as soon as they are copied, and not with others.
const LARGE: usize = 16 << 10;

/// The peer's arenas, mapped for reading.
#[derive(Debug)]
pub(super) struct Borrowing {
    /// By number. One that could not be mapped is none: the peer is not told that it is ready.
    arenas: Vec<Option<PeerRegion>>,
    /// How many bytes more may be mapped.
    room: u32,
}

/// A loan that was checked, and is not copied to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    arena: usize,
    at: usize,
    left: usize,
    ticket: u32,
    is_large: bool,
}

impl Borrowing {
    /// Maps at most `most` bytes.
    pub(super) fn new(most: u32) -> Self {
        Self { arenas: Vec::new(), room: most }
    }

    /// Maps an arena that the peer shows. Answers whether it could be mapped; if the peer is not told so, it will not lend
    /// from there.
    ///
    /// # Errors
    /// When the peer shows what it must not.
    pub(super) fn show(&mut self, arena: AddArena, fd: OwnedFd) -> Result<bool, SessionError> {
        if arena.number as usize != self.arenas.len() {
            return Err(SessionError::OutOfPlace);
        }
        if arena.len > self.room || self.arenas.len() == MOST_ARENAS {
            return Err(SessionError::TooMuchMemory);
        }
        self.room -= arena.len;
        let region = match PeerRegion::accept(fd, arena.len as usize) {
            Ok(region) => Some(region),
            // This process has no room for it: that is nothing the peer has done.
            Err(Unfit::Io(_)) => None,
            Err(unfit) => return Err(SessionError::Arena(unfit)),
        };
        let is_mapped = region.is_some();
        self.arenas.push(region);
        Ok(is_mapped)
    }

    /// Checks a loan, which may say anything.
    ///
    /// # Errors
    /// When it is not inside of an arena that we have mapped.
    pub(super) fn check(&self, loan: Loan) -> Result<Unread, Violation> {
        let index = loan.arena as usize;
        let arena = self.arenas.get(index).and_then(Option::as_ref).ok_or(Violation::Loan)?;
        let (at, left) = loan.check(arena.len())?;
        Ok(Unread { arena: index, at, left, ticket: loan.ticket, is_large: left >= LARGE })
    }

    /// Copies the next bytes of a loan, each once. There must be so many left.
    pub(super) fn copy(&self, loan: &mut Unread, into: &mut [u8]) {
        let n = into.len();
        debug_assert!(n <= loan.left, "{n} bytes of {} that are left", loan.left);
        if let Some(Some(arena)) = self.arenas.get(loan.arena) {
            copy_out(arena, loan.at, into);
        }
        loan.at += n;
        loan.left -= n;
    }
}

impl Unread {
    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether it is worth a release of its own.
    pub(super) fn is_large(&self) -> bool {
        self.is_large
    }

    /// What is to be released when none is left.
    pub(super) fn ticket(&self) -> u32 {
        self.ticket
    }
}
