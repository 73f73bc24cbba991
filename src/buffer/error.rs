//! What can go wrong when memory is asked for.

use std::fmt;

/// No block could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocError {
    /// The size is one that no machine can supply.
    TooLarge {
        /// The bytes asked for.
        asked: usize,
    },
    /// The pool may not grow further; blocks must come back first.
    Exhausted {
        /// The pool's limit in bytes.
        limit: usize,
    },
    /// The system has no memory to give.
    OutOfMemory {
        /// The bytes asked for.
        asked: usize,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { asked } => write!(f, "a block of {asked} bytes is impossible"),
            Self::Exhausted { limit } => write!(f, "the pool's limit of {limit} bytes is reached"),
            Self::OutOfMemory { asked } => write!(f, "the system has no {asked} bytes to give"),
        }
    }
}

impl std::error::Error for AllocError {}

impl From<AllocError> for std::io::Error {
    fn from(error: AllocError) -> Self {
        Self::new(std::io::ErrorKind::OutOfMemory, error)
    }
}
