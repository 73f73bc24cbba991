//! Counters that run freely and wrap.

use std::fmt::Debug;

/// The type of the shared counters. `u32` ships; the proofs use `u8`, whose values can all be tried.
pub trait Index: Copy + Eq + Debug + Send + Sync + 'static {
    /// Where all counters begin.
    const ZERO: Self;

    /// This counter after `n` more, wrapping.
    #[must_use]
    fn plus(self, n: usize) -> Self;

    /// How far this counter is ahead of `earlier`, wrapping.
    #[must_use]
    fn since(self, earlier: Self) -> usize;

    /// The counter as a number, for a place in a ring.
    #[must_use]
    fn number(self) -> usize;

    /// The counter with the value that `number` has in its low bits.
    #[must_use]
    fn of(number: usize) -> Self;
}

macro_rules! index {
    ($($type:ty)*) => { $(
        impl Index for $type {
            const ZERO: Self = 0;

            #[inline(always)]
            fn plus(self, n: usize) -> Self {
                self.wrapping_add(Self::of(n))
            }

            #[inline(always)]
            fn since(self, earlier: Self) -> usize {
                self.wrapping_sub(earlier).number()
            }

            #[inline(always)]
            fn number(self) -> usize {
                self as usize
            }

            #[inline(always)]
            #[expect(clippy::cast_possible_truncation, reason = "counters wrap")]
            fn of(number: usize) -> Self {
                number as Self
            }
        }
    )* };
}

index!(u8 u32);
