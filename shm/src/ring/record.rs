//! How records look in a ring.
//!
//! ```text
//!   | length u32 | kind u32 | bytes ........ | up to 7 bytes that mean nothing |
//!   ^ a multiple of 8                                                          ^ a multiple of 8
//! ```

use crate::violation::Violation;

/// The bytes in front of each record's own.
pub const HEADER: usize = 8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Its bytes are the message, or a part of the stream.
    Inline = 1,
    /// Its bytes describe memory that is lent (a [`Loan`](crate::slots::Loan)).
    Lent = 2,
    /// Its bytes describe a sealed file that came over the socket.
    Bulk = 3,
    /// Nothing comes after it. It has no bytes.
    End = 4,
    /// Its bytes are the first ones of a message, or further ones, but not the last.
    Part = 5,
    /// The parts before it are no message. It has no bytes.
    Void = 6,
}

/// Skip the rest of the ring. It has no bytes either: where it ends is known.
pub(super) const PADDING: u32 = 0x5041_4421;

impl Kind {
    /// The kind that the word stands for.
    fn of(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Inline),
            2 => Some(Self::Lent),
            3 => Some(Self::Bulk),
            4 => Some(Self::End),
            5 => Some(Self::Part),
            6 => Some(Self::Void),
            _ => None,
        }
    }
}

/// A record's head, as it was copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Record { kind: Kind, len: usize },
    Padding,
}

/// The head of a record of `len` bytes, which are fewer than 2³².
#[inline(always)]
pub(super) fn encode(kind: u32, len: usize) -> u64 {
    u64::from(kind) << 32 | len as u64
}

/// What a head says, when it stands `to_end` bytes before the end of the ring and `available` bytes are published from
/// it on: both multiples of 8, neither 0. `most` is the longest that a record with its head may be.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
pub(super) fn decode(
    header: u64,
    available: usize,
    to_end: usize,
    most: usize,
) -> Result<(Head, usize), Violation> {
    let length = header as u32;
    let word = (header >> 32) as u32;
    let bad_length = Violation::Length { found: length };
    if word == PADDING {
        // No longer than a record: otherwise the record would have fitted.
        let fits = length == 0 && to_end <= available && to_end < most;
        return if fits { Ok((Head::Padding, to_end)) } else { Err(bad_length) };
    }
    let kind = Kind::of(word).ok_or(Violation::Kind { found: word })?;
    let len = length as usize;
    if len > most - HEADER || (matches!(kind, Kind::End | Kind::Void) && len != 0) {
        return Err(bad_length);
    }
    let size = size(len);
    if size > available.min(to_end) { Err(bad_length) } else { Ok((Head::Record { kind, len }, size)) }
}

/// How much of the ring a record of `len` bytes takes.
#[inline(always)]
pub(super) const fn size(len: usize) -> usize {
    (HEADER + len).next_multiple_of(8)
}
