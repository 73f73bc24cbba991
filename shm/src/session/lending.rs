//! What we lend to the peer, and the memory for that.
//!
//! ```text
//!   needed       a chunk is made, sealed, shown: ADD_ARENA          `offer`
//!   ARENA_READY  the peer has mapped it: memory of it may be lent   `ready`
//!   lent         a segment by reference, or a copy of other bytes   `lend`
//!   released     the segment is dropped; its slot is free           `collect`
//! ```
//!
//! * Nobody waits for an arena: until it is ready, and whenever it has nothing to give, bytes go through the ring.
//! * One chunk is under way at a time: a peer that never answers has one.
//! * Chunks are not given back before the session ends. There are at most as many bytes of them as the peer maps, and never
//!   more than 8 MiB; a session that lends nothing has none.
//! * A peer that never releases keeps what is lent until the session ends. That is at most the arena.

use std::os::fd::OwnedFd;

use linkpoll::buffer::{Segment, Tail};

use super::references::References;
use super::{Memory, SessionError};
use crate::region::OwnRegion;
use crate::slots::{Arena, CHUNK, Lender, Loan, Placed};
use crate::storage::Mapped;
use crate::violation::Violation;
use crate::wire::{AddArena, Frame};

/// The most bytes that are out as copies. Further bytes go through the ring: a peer that does not read must not fill the
/// arena with bytes that have memory of their own.
const MOST_COPIED: usize = 512 << 10;

/// How many chunks those get who send pieces of [`LARGE`] bytes: more memory than a processor has in a cache of its own.
const AMPLE: usize = 2;
const LARGE: usize = 32 << 10;

/// Our arena, and what of it the peer has.
#[derive(Debug)]
pub(super) struct Lending {
    lender: Lender<Mapped<Memory>, Lent>,
    arena: Arena<OwnRegion>,
    /// The chunk that the peer was shown last, and has not mapped yet.
    offered: Option<OwnRegion>,
    /// How many chunks there may be.
    most: usize,
    /// Bytes that are out as copies.
    copied: usize,
    references: References,
}

/// What is kept while the peer has it.
#[derive(Debug)]
pub(super) struct Lent {
    segment: Segment,
    /// Which loan by reference it is; none for a copy.
    reference: Option<u64>,
}

impl Lending {
    /// Lends out of at most `most` bytes.
    pub(super) fn new(lender: Lender<Mapped<Memory>, Lent>, most: u32) -> Self {
        Self {
            lender,
            arena: Arena::new(),
            offered: None,
            most: most as usize / CHUNK,
            copied: 0,
            references: References::default(),
        }
    }

    /// How many loans are out.
    #[inline]
    pub(super) fn out(&self) -> usize {
        self.lender.lent()
    }

    /// Which loans by reference are back.
    pub(super) fn references(&self) -> &References {
        &self.references
    }

    /// Memory of the arena for `len` bytes, if there is some.
    pub(super) fn allocate(&mut self, len: usize) -> Option<Tail> {
        self.arena.allocate(len)
    }

    /// Whether so many bytes more may be out as copies.
    pub(super) fn may_copy(&self, len: usize) -> bool {
        self.copied + len <= MOST_COPIED
    }

    /// Whether the arena is too small for `len` bytes again and again: there must be more of it than the peer has in its
    /// caches, or writing is slow.
    pub(super) fn is_small_for(&self, len: usize) -> bool {
        len >= LARGE && self.arena.chunks() < AMPLE && self.offered.is_none()
    }

    /// Where a segment lies in the arena, if it does.
    #[inline]
    pub(super) fn place(&self, segment: &Segment) -> Option<Placed> {
        self.arena.place(segment)
    }

    /// Whether one more loan may be out.
    pub(super) fn has_ticket(&self) -> bool {
        !self.lender.is_full()
    }

    /// Makes a chunk, and the frame that shows it to the peer; none when one is under way, or there are as many as there
    /// may be, or there is no memory: then the session goes on with what it has.
    pub(super) fn offer(&mut self) -> Option<Frame<OwnedFd>> {
        let number = self.arena.chunks();
        if self.offered.is_some() || number >= self.most {
            return None;
        }
        let Ok((region, fd)) = OwnRegion::create(CHUNK) else {
            self.most = number;
            return None;
        };
        self.offered = Some(region);
        let add = AddArena { number: u32::try_from(number).ok()?, len: u32::try_from(CHUNK).ok()? };
        Some(Frame::AddArena(add, fd))
    }

    /// The peer has mapped a chunk.
    ///
    /// # Errors
    /// When it is not the one that it was shown last.
    pub(super) fn ready(&mut self, number: u32) -> Result<(), SessionError> {
        if number as usize != self.arena.chunks() {
            return Err(SessionError::OutOfPlace);
        }
        let region = self.offered.take().ok_or(SessionError::OutOfPlace)?;
        if self.arena.add(region).is_err() {
            // It is as large as it can be.
            self.most = self.arena.chunks();
        }
        Ok(())
    }

    /// Lends a segment that lies in the arena.
    ///
    /// # Errors
    /// Gives it back when there is no [ticket](Self::has_ticket).
    pub(super) fn lend(
        &mut self,
        segment: Segment,
        placed: Placed,
        by_reference: bool,
    ) -> Result<Loan, Segment> {
        if self.lender.is_full() {
            return Err(segment);
        }
        let len = segment.len();
        let reference = by_reference.then(|| self.references.give());
        let ticket = self.lender.lend(Lent { segment, reference }).map_err(|lent| lent.segment)?;
        if !by_reference {
            self.copied += len;
        }
        let Placed { arena, offset, length } = placed;
        Ok(Loan { arena, offset, length, ticket })
    }

    /// Takes in what the peer has released, and answers how many loans that were. Looks at nothing when nothing is out.
    #[inline]
    pub(super) fn collect(&mut self) -> Result<usize, Violation> {
        if self.lender.lent() == 0 {
            return Ok(0);
        }
        let Self { lender, copied, references, .. } = self;
        lender.collect(|lent| match lent.reference {
            Some(number) => references.take_back(number),
            None => *copied -= lent.segment.len(),
        })
    }

    /// The bytes of the arena, those of them that are free, the segments that the peer has, and how many bytes of them are
    /// copies.
    #[cfg(test)]
    pub(super) fn census(&mut self) -> (usize, usize, Vec<Segment>, usize) {
        let lent = self.lender.things().map(|lent| lent.segment.clone()).collect();
        (self.arena.chunks() * CHUNK, self.arena.free(), lent, self.copied)
    }

    /// Asks for a doorbell at the next release; answers whether none has come yet.
    pub(super) fn park(&mut self) -> Result<bool, Violation> {
        self.lender.park()
    }
}
