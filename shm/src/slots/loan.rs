//! What a record of kind [`Lent`](crate::ring::Kind::Lent) says.

use std::fmt;

use crate::ring::Record;
use crate::storage::Storage;
use crate::violation::Violation;

/// Bytes in an arena of the sender's: four little-endian words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The arena's number, in the order in which they were shown.
    pub arena: u32,
    /// Where the bytes begin in it.
    pub offset: u32,
    /// How many there are.
    pub length: u32,
    /// What to release when they are copied out.
    pub ticket: u32,
}

impl Loan {
    /// The bytes of the record.
    pub const LEN: usize = 16;

    /// As the record has it.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let words = [self.arena, self.offset, self.length, self.ticket];
        for (into, word) in bytes.chunks_exact_mut(4).zip(words) {
            into.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Copies a loan out of its record, once. It is to be [checked](Self::check) before use.
    ///
    /// # Errors
    /// When the record has another length.
    pub fn decode<S: Storage>(record: &Record<'_, S>) -> Result<Self, Violation> {
        let mut bytes = [0; Self::LEN];
        if record.len() != Self::LEN {
            return Err(Violation::Loan);
        }
        record.copy_to(0, &mut bytes);
        let word = |n: usize| u32::from_le_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
        Ok(Self { arena: word(0), offset: word(4), length: word(8), ticket: word(12) })
    }

    /// Where the bytes begin and how many they are, inside of an arena of `arena_len` bytes.
    ///
    /// # Errors
    /// When they are none, or not all inside of it.
    pub fn check(self, arena_len: usize) -> Result<(usize, usize), Violation> {
        let (offset, length) = (self.offset as usize, self.length as usize);
        let inside = length > 0 && offset <= arena_len && length <= arena_len - offset;
        if inside { Ok((offset, length)) } else { Err(Violation::Loan) }
    }
}

impl fmt::Display for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arena, offset, length, ticket } = self;
        write!(f, "{length} bytes at {offset} of arena {arena}, ticket {ticket:#x}")
    }
}
