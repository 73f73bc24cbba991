//! Which memory the kernel still has: lent with each call, given back by notifications.
//!
//! KERNEL: msg_zerocopy.rst: every call that took bytes by reference gets the next number of the socket, a counter of 32
//! bits that wraps. A notification gives a range of numbers back, both ends included; neighbours are merged, and ranges
//! may come out of order.
//!
//! ```text
//!          low                        next
//!   ...... | lent | back | lent | lent | .......      numbers, modulo 2^32
//!            ^ the oldest that is not back
//! ```
//!
//! What a notification says is not trusted: a range that is not wholly between `low` and `next` is refused and counted by
//! the caller. The distance between the two is at most the capacity, which is far below 2^31, so serial arithmetic
//! (RFC 1982) is exact.

use std::collections::VecDeque;

/// A range of numbers that was not lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray;

/// What is lent by each call, in the order of the calls.
#[derive(Debug)]
pub struct Tracker<T> {
    /// The number of the first slot.
    low: u32,
    /// One for each number from `low` on; none where the memory is back. The first is never none.
    slots: VecDeque<Option<T>>,
    lent: usize,
}

impl<T> Default for Tracker<T> {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl<T> Tracker<T> {
    /// The most numbers between the oldest that is lent and the next.
    pub const CAPACITY: usize = 256;

    /// A tracker of a socket whose next number is `first`. The kernel starts at 0.
    #[must_use]
    pub fn starting_at(first: u32) -> Self {
        Self { low: first, slots: VecDeque::new(), lent: 0 }
    }

    /// The number that the next call gets.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.low.wrapping_add(u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    /// Whether everything from numbers before `number` is back.
    #[must_use]
    pub fn is_back(&self, number: u32) -> bool {
        // `number` lies between some earlier `low` and `next`, so the difference is small one way or the other.
        self.low.wrapping_sub(number).cast_signed() >= 0
    }

    /// The number of calls whose memory is lent.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Whether nothing more can be lent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= Self::CAPACITY
    }

    /// Notes what a call has lent. The tracker must not be full.
    pub fn lend(&mut self, memory: T) {
        debug_assert!(!self.is_full(), "the caller looks first");
        self.slots.push_back(Some(memory));
        self.lent += 1;
    }

    /// Takes back the memory of a range of numbers, both included. Numbers that are back already are passed over.
    ///
    /// # Errors
    /// When not all of the range was ever lent; then nothing is taken back.
    pub fn take_back(&mut self, from: u32, to: u32, mut each: impl FnMut(T)) -> Result<(), Stray> {
        // Where everything up to a number is back, a notification that names it again is late or doubled.
        let first = from.wrapping_sub(self.low) as usize;
        let last = to.wrapping_sub(self.low) as usize;
        if first > last || last >= self.slots.len() {
            return Err(Stray);
        }
        for memory in self.slots.range_mut(first..=last).filter_map(Option::take) {
            self.lent -= 1;
            each(memory);
        }
        while self.slots.front().is_some_and(Option::is_none) {
            self.slots.pop_front();
            self.low = self.low.wrapping_add(1);
        }
        Ok(())
    }

    /// Takes back everything, whether it was given back or not.
    pub fn take_all(&mut self) -> impl Iterator<Item = T> {
        self.low = self.next();
        self.lent = 0;
        std::mem::take(&mut self.slots).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_across_the_wrap_is_one_range() {
        let mut tracker = Tracker::starting_at(u32::MAX - 1);
        (0..4).for_each(|memory| tracker.lend(memory));
        assert_eq!(tracker.next(), 2);
        let mut back = Vec::new();
        assert_eq!(tracker.take_back(u32::MAX, 1, |memory| back.push(memory)), Ok(()));
        assert_eq!((back, tracker.lent()), (vec![1, 2, 3], 1));
        assert!(!tracker.is_back(u32::MAX) && tracker.is_back(u32::MAX - 1));
        assert_eq!(tracker.take_back(u32::MAX - 1, u32::MAX - 1, drop), Ok(()));
        assert!(tracker.is_back(2));
    }

    #[test]
    fn what_was_not_lent_is_refused() {
        let mut tracker = Tracker::starting_at(10);
        (0..3).for_each(|memory| tracker.lend(memory));
        for (from, to) in [(9, 10), (10, 13), (12, 11), (13, 13), (0, u32::MAX), (11, 10)] {
            assert_eq!(
                tracker.take_back(from, to, |_| panic!("it was not lent")),
                Err(Stray),
                "{from}..={to}"
            );
        }
        assert_eq!(tracker.lent(), 3);
    }

    /// One notification: a part of what is lent, given by two positions.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Lend,
        Back(u8, u8),
        /// A range that reaches outside.
        Stray(u32, u32),
        All,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => Just(Step::Lend),
            5 => any::<(u8, u8)>().prop_map(|(from, width)| Step::Back(from, width)),
            1 => any::<(u32, u32)>().prop_map(|(from, to)| Step::Stray(from, to)),
            1 => Just(Step::All),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a list of all numbers ever lent: each comes back once, in ranges, merged, out of order, doubled, with
        /// strays between, from any first number on, over the wrap.
        #[test]
        fn each_comes_back_once(first in prop_oneof![any::<u32>(), (u32::MAX - 100)..=u32::MAX], steps in steps()) {
            let mut tracker = Tracker::starting_at(first);
            // By order of lending: whether it is still lent.
            let mut lent: Vec<bool> = Vec::new();
            let number = |at: usize| first.wrapping_add(u32::try_from(at).unwrap());
            for step in steps {
                let low = lent.iter().position(|lent| *lent).unwrap_or(lent.len());
                match step {
                    Step::Lend if tracker.is_full() => prop_assert!(lent.len() - low >= Tracker::<usize>::CAPACITY),
                    Step::Lend => {
                        tracker.lend(lent.len());
                        lent.push(true);
                    }
                    Step::Back(from, width) if low < lent.len() => {
                        let from = low + usize::from(from) % (lent.len() - low);
                        let to = from + usize::from(width) % (lent.len() - from);
                        let mut back = Vec::new();
                        prop_assert_eq!(tracker.take_back(number(from), number(to), |at| back.push(at)), Ok(()));
                        let expected: Vec<usize> = (from..=to).filter(|at| lent[*at]).collect();
                        prop_assert_eq!(&back, &expected);
                        back.iter().for_each(|at| lent[*at] = false);
                    }
                    Step::Back(..) => {}
                    Step::Stray(from, to) => {
                        let inside = |n: u32| (n.wrapping_sub(number(low)) as usize) < lent.len() - low;
                        if !inside(from) || !inside(to) {
                            let before = tracker.lent();
                            prop_assert_eq!(tracker.take_back(from, to, drop), Err(Stray));
                            prop_assert_eq!(tracker.lent(), before);
                        }
                    }
                    Step::All => {
                        let expected: Vec<usize> = (0..lent.len()).filter(|at| lent[*at]).collect();
                        prop_assert_eq!(tracker.take_all().collect::<Vec<_>>(), expected);
                        lent.iter_mut().for_each(|lent| *lent = false);
                    }
                }
                prop_assert_eq!(tracker.next(), number(lent.len()));
                prop_assert_eq!(tracker.lent(), lent.iter().filter(|lent| **lent).count());
                let low = lent.iter().position(|lent| *lent).unwrap_or(lent.len());
                prop_assert!(tracker.is_back(number(low)));
                prop_assert!(low == lent.len() || !tracker.is_back(number(low + 1)));
            }
        }
    }
}
