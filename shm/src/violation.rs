//! What a peer did that no honest peer does.

use std::fmt;

/// The peer has broken the protocol in the memory that it shares. The session is over: whoever finds a violation never
/// looks at the peer's words again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Its `tail` is not a multiple of 8, has gone back, or claims more than the ring holds.
    Tail,
    /// Its `head` is not a multiple of 8, has gone back, or claims more than was published.
    Head,
    /// Its count of releases claims more than it was lent.
    Released,
    /// A record is of no known kind.
    Kind {
        /// The kind as it stood in the record.
        found: u32,
    },
    /// A record is longer than records may be, reaches over the end of the ring or beyond what was published, or has a
    /// length that its kind cannot have.
    Length {
        /// The length as it stood in the record.
        found: u32,
    },
    /// A record comes after the one that ends the direction.
    AfterEnd,
    /// A release is of nothing that is lent, or of something that has been released before.
    Ticket {
        /// The ticket as it stood in the release ring.
        found: u32,
    },
    /// A loan lies outside of the memory that the peer has shown.
    Loan,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tail => f.write_str("the peer's tail is impossible"),
            Self::Head => f.write_str("the peer's head is impossible"),
            Self::Released => f.write_str("the peer's count of releases is impossible"),
            Self::Kind { found } => write!(f, "a record of unknown kind {found:#x}"),
            Self::Length { found } => write!(f, "a record of impossible length {found}"),
            Self::AfterEnd => f.write_str("a record after the end"),
            Self::Ticket { found } => write!(f, "a release of {found:#x}, which is not lent"),
            Self::Loan => f.write_str("a loan outside of the memory that was shown"),
        }
    }
}

impl std::error::Error for Violation {}
