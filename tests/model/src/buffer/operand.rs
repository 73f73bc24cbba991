//! Operands: one byte each, which stands for a number, an index or a choice.
//!
//! Low bytes are small numbers, so that shrinking a byte shrinks what it means; high bytes are the numbers near
//! which buffers behave differently.

use std::fmt;

use super::NEVER;

/// Something an operation needs, in one byte. Every byte is valid.
pub trait Operand: Copy {
    /// What the byte stands for.
    fn from_byte(byte: u8) -> Self;
    /// A byte that stands for it.
    fn byte(self) -> u8;
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub u8);

        impl Operand for $name {
            fn from_byte(byte: u8) -> Self {
                Self(byte)
            }

            fn byte(self) -> u8 {
                self.0
            }
        }
    )+};
}

numbers! {
    /// A number of bytes to write, whatever is there.
    Size;
    /// A number of bytes to read, relative to what is there.
    Amount;
    /// A number of pieces.
    Count;
    /// One of several things, by index.
    Pick;
    /// A byte to search for, one of a few: searches for the same byte, again and again, are those that resume.
    Letter;
    /// The most bytes that the pool may map.
    Limit;
}

/// Bytes from here on stand for landmarks, those below for themselves.
const LANDMARKS: u8 = 128;

/// Around the sizes of blocks, and around the size from which an appended piece is linked and not copied.
const SIZES: [usize; 32] = [
    128, 255, 256, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 16_383, 16_384,
    16_385, 65_535, 65_536, 65_537, 65_535, 65_536, 65_537, 131_072, 131_073, 262_143, 262_144, 262_145,
    1_048_575, 1_048_576, 1_048_577,
];

impl Size {
    /// The number of bytes.
    #[must_use]
    pub fn get(self) -> usize {
        match self.0.checked_sub(LANDMARKS) {
            Some(code) => SIZES[usize::from(code) % SIZES.len()],
            None => self.0.into(),
        }
    }

    /// The size that stands for just so many bytes, if there is one.
    #[must_use]
    pub fn of(bytes: usize) -> Option<Self> {
        (0..=u8::MAX).map(Self).find(|size| size.get() == bytes)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Amounts that are not a number of their own: how to compute them from what is there and the first piece of it.
type Landmark = (&'static str, fn(usize, usize) -> usize);
const AMOUNTS: [Landmark; 16] = [
    ("all", |all, _| all),
    ("all - 1", |all, _| all.saturating_sub(1)),
    ("all + 1", |all, _| all + 1),
    ("first", |_, first| first),
    ("first - 1", |_, first| first.saturating_sub(1)),
    ("first + 1", |_, first| first + 1),
    ("half", |all, _| all / 2),
    ("quarter", |all, _| all / 4),
    ("most", |all, _| all - all / 8),
    ("all but 16", |all, _| all.saturating_sub(16)),
    ("4096", |_, _| 4096),
    ("65536", |_, _| 65_536),
    ("65537", |_, _| 65_537),
    ("2 * all", |all, _| all * 2),
    ("isize::MAX", |_, _| isize::MAX.unsigned_abs()),
    ("usize::MAX", |_, _| usize::MAX),
];

impl Amount {
    /// The number of bytes, where `all` are there and `first` of them lie in the first piece. May be more than all.
    #[must_use]
    pub fn of(self, all: usize, first: usize) -> usize {
        match self.landmark() {
            Some((_, number)) => number(all, first),
            None => self.0.into(),
        }
    }

    /// The same, but never more than all.
    #[must_use]
    pub fn within(self, all: usize, first: usize) -> usize {
        self.of(all, first).min(all)
    }

    /// The amount with this name: `all`, `all - 1`, `first + 1`, `half`, ...
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        (0..=u8::MAX).map(Self).find(|amount| amount.landmark().is_some_and(|landmark| landmark.0 == name))
    }

    fn landmark(self) -> Option<Landmark> {
        let code = self.0.checked_sub(LANDMARKS)?;
        Some(AMOUNTS[usize::from(code) % AMOUNTS.len()])
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.landmark() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Around the number of slots in a chunk of a stream, and around the most pieces that one gathering call takes.
const COUNTS: [usize; 8] = [15, 16, 30, 31, 32, 1023, 1024, 1025];

impl Count {
    /// The number of pieces.
    #[must_use]
    pub fn get(self) -> usize {
        match self.0.checked_sub(LANDMARKS) {
            Some(code) => COUNTS[usize::from(code) % COUNTS.len()],
            None => usize::from(self.0) % 64,
        }
    }

    /// The count that stands for just so many pieces, if there is one.
    #[must_use]
    pub fn of(pieces: usize) -> Option<Self> {
        (0..=u8::MAX).map(Self).find(|count| count.get() == pieces)
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

impl Pick {
    /// An index below `len`; none when there is nothing to pick from.
    #[must_use]
    pub fn index(self, len: usize) -> Option<usize> {
        usize::from(self.0).checked_rem(len)
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl Letter {
    const ALL: [u8; 4] = [0, b'\n', 0x7F, NEVER];

    /// The byte.
    #[must_use]
    pub fn get(self) -> u8 {
        Self::ALL[usize::from(self.0) % Self::ALL.len()]
    }

    /// The operand that stands for [`NEVER`].
    #[must_use]
    pub fn never() -> Self {
        Self(3)
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.get())
    }
}

const LIMITS: [usize; 4] = [Limit::NONE, 2 << 20, 512 << 10, 256 << 10];

impl Limit {
    /// More than any program fills.
    pub const NONE: usize = 1 << 30;

    /// The limit in bytes.
    #[must_use]
    pub fn get(self) -> usize {
        LIMITS[usize::from(self.0) % LIMITS.len()]
    }

    /// Whether the pool goes away at the end while blocks of it are still held.
    #[must_use]
    pub fn pool_ends_first(self) -> bool {
        self.0 >= LANDMARKS
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.get(), if self.pool_ends_first() { ", and the pool ends first" } else { "" })
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $choice:ident,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$each])* $choice,)+
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$choice,)+];
        }

        impl Operand for $name {
            fn from_byte(byte: u8) -> Self {
                Self::ALL[usize::from(byte) % Self::ALL.len()]
            }

            fn byte(self) -> u8 {
                self as u8
            }
        }
    )+};
}

choices! {
    /// The interface that bytes are written through.
    Via {
        /// The writer's own method.
        Method,
        /// `std::io::Write`.
        Io,
        /// `bytes::BufMut`.
        BufMut,
    }

    /// Where the bytes of an appended segment lie.
    Source {
        /// In a vector that the segment takes over.
        Vec,
        /// In something of another owner.
        Owner,
        /// In a `bytes::Bytes`.
        Bytes,
        /// In the block of a lease, if there is one; then the size is the lease's.
        Lease,
    }
}
