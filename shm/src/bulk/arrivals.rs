//! Sealed memory that has arrived before the record that refers to it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use linkpoll::buffer::Segment;

use super::SealedBulk;
use crate::region::Unfit;
use crate::sys::same;
use crate::wire::Bulk;

/// The most pieces that wait for their records. It bounds the descriptors that a peer makes us hold.
pub const MOST_WAITING: usize = 16;

/// What has come over the socket, and waits for its record. Pieces and records come in the same order.
#[derive(Debug)]
pub struct Arrivals {
    waiting: VecDeque<SealedBulk>,
    /// The sequence of the next piece to arrive, and of the next record.
    next: u32,
    claimed: u32,
    /// The most bytes in one piece.
    limit: u32,
}

impl Arrivals {
    /// Nothing yet. `limit` is the most bytes in one piece, as the set-up has told the peer.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { waiting: VecDeque::new(), next: 0, claimed: 0, limit }
    }

    /// A BULK frame has come. The memory is checked, and not mapped yet.
    ///
    /// # Errors
    /// When it is none that the peer may send: the session is over then.
    pub fn arrived(&mut self, bulk: Bulk, fd: OwnedFd) -> Result<(), BulkError> {
        if bulk.sequence != self.next {
            return Err(BulkError::Sequence);
        }
        if bulk.len > self.limit {
            return Err(BulkError::TooLarge { len: bulk.len, limit: self.limit });
        }
        if self.waiting.len() == MOST_WAITING {
            return Err(BulkError::TooMany);
        }
        self.waiting.push_back(SealedBulk::accept(fd, bulk.len as usize)?);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// A BULK record has come: maps the memory that belongs to it. `None` when that has not arrived: the socket must be
    /// read then, and if it is not in there, the peer lies.
    ///
    /// # Errors
    /// When the record does not refer to what has arrived: the session is over then. `Io` when it cannot be mapped.
    pub fn claim(&mut self, record: Bulk) -> Result<Option<Segment>, BulkError> {
        if record.sequence != self.claimed {
            return Err(BulkError::Sequence);
        }
        let Some(sealed) = self.waiting.front() else { return Ok(None) };
        if sealed.len() != record.len as usize {
            return Err(BulkError::Length);
        }
        let Some(sealed) = self.waiting.pop_front() else { return Ok(None) };
        self.claimed = self.claimed.wrapping_add(1);
        Ok(Some(sealed.into_segment()?))
    }

    /// How many pieces wait for their records.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// Why sealed memory of the peer's was turned down.
#[derive(Debug)]
pub enum BulkError {
    /// Frames or records are out of order.
    Sequence,
    /// A record says another length than its frame.
    Length,
    /// More bytes than the set-up allows.
    TooLarge {
        /// The bytes declared.
        len: u32,
        /// The most that may be.
        limit: u32,
    },
    /// Too many pieces without a record.
    TooMany,
    /// The memory is not what it should be.
    Unfit(Unfit),
    /// It could not be mapped, for lack of memory or mappings here.
    Io(io::Error),
}

impl fmt::Display for BulkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence => f.write_str("sealed memory came out of order"),
            Self::Length => f.write_str("a record says another length than its frame"),
            Self::TooLarge { len, limit } => {
                write!(f, "{len} bytes of sealed memory where {limit} are the limit")
            }
            Self::TooMany => write!(f, "more than {MOST_WAITING} pieces of sealed memory without a record"),
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Io(error) => write!(f, "sealed memory could not be mapped: {error}"),
        }
    }
}

impl std::error::Error for BulkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unfit(unfit) => Some(unfit),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Unfit> for BulkError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Io(error) => Self::Io(error),
            unfit => Self::Unfit(unfit),
        }
    }
}

impl Clone for BulkError {
    fn clone(&self) -> Self {
        match self {
            Self::Sequence => Self::Sequence,
            Self::Length => Self::Length,
            Self::TooLarge { len, limit } => Self::TooLarge { len: *len, limit: *limit },
            Self::TooMany => Self::TooMany,
            Self::Unfit(unfit) => Self::Unfit(unfit.clone()),
            Self::Io(error) => Self::Io(same(error)),
        }
    }
}
