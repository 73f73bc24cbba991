//! Why a session is over.

use std::fmt;
use std::io;

use crate::bulk::BulkError;
use crate::region::Unfit;
use crate::violation::Violation;
use crate::wire::{ControlError, Refusal};

/// Why a session is over. It is over once, for one reason: everything asked of it afterwards fails in the same way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer has broken the protocol in the memory that it shares.
    Violation(Violation),
    /// The peer has said something over the socket that has no place there.
    OutOfPlace,
    /// The session's socket is broken, or what came over it is no frame.
    Control(ControlError),
    /// Sealed memory of the peer's is not what it should be.
    Bulk(BulkError),
    /// An arena of the peer's is not what it should be.
    Arena(Unfit),
    /// The peer shows more arenas than we have said that we map.
    TooMuchMemory,
    /// The peer has ended the session, and says why.
    Refused(Refusal),
    /// A message of the peer's is longer than this side takes.
    LongMessage,
    /// The peer is gone without having ended its direction.
    PeerGone,
    /// The peer is gone, and takes nothing any more.
    NobodyReads,
    /// The session belongs to the process that this one was forked from (fork(2)).
    Forked,
}

impl SessionError {
    /// What the peer is told, if there is still someone to tell.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Violation(_) | Self::OutOfPlace | Self::Bulk(_) | Self::Arena(_) | Self::TooMuchMemory => {
                Some(Refusal::Violation)
            }
            Self::LongMessage => Some(Refusal::Geometry),
            Self::Control(error) => error.refusal(),
            Self::Refused(_) | Self::PeerGone | Self::NobodyReads | Self::Forked => None,
        }
    }

    /// The kind of error for those who count them.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Violation(_) | Self::OutOfPlace | Self::Bulk(_) | Self::Arena(_) | Self::TooMuchMemory => {
                io::ErrorKind::InvalidData
            }
            Self::LongMessage => io::ErrorKind::InvalidData,
            Self::Control(ControlError::Io(error)) => error.kind(),
            Self::Control(ControlError::Frame(_)) => io::ErrorKind::InvalidData,
            Self::Control(_) => io::ErrorKind::OutOfMemory,
            Self::Refused(_) => io::ErrorKind::ConnectionAborted,
            Self::PeerGone => io::ErrorKind::ConnectionReset,
            Self::NobodyReads => io::ErrorKind::BrokenPipe,
            Self::Forked => io::ErrorKind::Unsupported,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::OutOfPlace => f.write_str("a frame that has no place in a session"),
            Self::Control(error) => error.fmt(f),
            Self::Bulk(error) => error.fmt(f),
            Self::Arena(unfit) => write!(f, "an arena of the peer's: {unfit}"),
            Self::TooMuchMemory => f.write_str("the peer shows more memory than we have said that we map"),
            Self::Refused(refusal) => write!(f, "the peer has ended the session: {refusal}"),
            Self::LongMessage => f.write_str("a message of the peer's is longer than this side takes"),
            Self::PeerGone => f.write_str("the peer is gone without having ended its direction"),
            Self::NobodyReads => f.write_str("the peer is gone, and takes nothing any more"),
            Self::Forked => f.write_str("the session belongs to the process that this one was forked from"),
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Violation(violation) => Some(violation),
            Self::Control(error) => Some(error),
            Self::Bulk(error) => Some(error),
            Self::Arena(unfit) => Some(unfit),
            _ => None,
        }
    }
}

impl From<Violation> for SessionError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<ControlError> for SessionError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<BulkError> for SessionError {
    fn from(error: BulkError) -> Self {
        Self::Bulk(error)
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        Self::new(error.kind(), error)
    }
}
