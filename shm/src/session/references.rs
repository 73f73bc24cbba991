//! Which loans by reference are back.

use std::collections::VecDeque;

/// Loans come back in any order; who waits for the memory of a send wants to know when all up to some loan are back.
///
/// INVARIANT: `back` has an entry for each loan from `settled` up to `given`, and its first is not back.
#[derive(Debug, Default)]
pub(super) struct References {
    given: u64,
    settled: u64,
    back: VecDeque<bool>,
}

impl References {
    /// Counts a loan, and answers its number.
    pub(super) fn give(&mut self) -> u64 {
        let number = self.given;
        self.given += 1;
        self.back.push_back(false);
        number
    }

    /// A loan is back.
    pub(super) fn take_back(&mut self, number: u64) {
        let at = number.checked_sub(self.settled).and_then(|at| usize::try_from(at).ok());
        if let Some(back) = at.and_then(|at| self.back.get_mut(at)) {
            *back = true;
        }
        while self.back.pop_front_if(|back| *back).is_some() {
            self.settled += 1;
        }
    }

    /// How many were given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// All loans before this one are back.
    pub(super) fn settled(&self) -> u64 {
        self.settled
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
}
