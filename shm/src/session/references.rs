//! Which loans by reference are back.

use std::collections::VecDeque;

/// Loans come back in any order; who waits for the memory of a send wants to know when all up to some loan are back.
///
/// It takes as much memory as loans are out, whatever order the peer gives them back in.
///
/// INVARIANT: `out` has the numbers that are out, in order; all of them are less than `given`.
#[derive(Debug, Default)]
pub(super) struct References {
    given: u64,
    out: VecDeque<u64>,
}

impl References {
    /// Counts a loan, and answers its number.
    pub(super) fn give(&mut self) -> u64 {
        let number = self.given;
        self.given += 1;
        self.out.push_back(number);
        number
    }

    /// A loan is back.
    pub(super) fn take_back(&mut self, number: u64) {
        // An honest peer gives the oldest back.
        if let Ok(at) = self.out.binary_search(&number) {
            self.out.remove(at);
        }
    }

    /// How many were given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// All loans before this one are back.
    pub(super) fn settled(&self) -> u64 {
        self.out.front().copied().unwrap_or(self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loans_are_settled_in_order_whatever_order_they_come_back_in() {
        let mut references = References::default();
        assert_eq!((references.give(), references.give(), references.give()), (0, 1, 2));
        references.take_back(1);
        assert_eq!(references.settled(), 0);
        references.take_back(0);
        assert_eq!(references.settled(), 2);
        references.take_back(0);
        assert_eq!((references.settled(), references.give()), (2, 3), "it was settled before");
        references.take_back(3);
        references.take_back(2);
        assert_eq!((references.settled(), references.given()), (4, 4));
    }

    #[test]
    fn a_loan_that_never_comes_back_makes_nothing_grow() {
        let mut references = References::default();
        references.give();
        for _ in 0..10_000 {
            let number = references.give();
            references.take_back(number);
        }
        assert_eq!((references.settled(), references.out.len()), (0, 1));
    }
}
