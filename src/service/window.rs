//! The answers of one connection's calls, in the order in which they may leave.
//!
//! Where the protocol is ordered, each call that is not answered at once takes the next number and a slot; answers fill
//! their slots whenever they come, and leave from the front. Where it is not, calls are only counted, and an answer
//! leaves as it comes.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// See the module's documentation.
///
/// INVARIANT: the front slot, if there is one, is empty, or filled and about to be taken by [`next`](Self::next).
#[derive(Debug)]
pub(super) struct Window<A> {
    ordered: bool,
    /// The number of the front slot.
    first: u32,
    slots: VecDeque<Option<A>>,
    /// Calls that are not answered.
    waiting: usize,
    /// Bytes of their messages, as they arrived.
    held: usize,
}

impl<A> Window<A> {
    pub(super) fn new(ordered: bool) -> Self {
        Self { ordered, first: 0, slots: VecDeque::new(), waiting: 0, held: 0 }
    }

    /// Calls whose answers have not left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.ordered { self.slots.len() } else { self.waiting }
    }

    /// Bytes of the messages of unanswered calls.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A call begins whose answer comes later. Answers its number.
    pub(super) fn open(&mut self, bytes: usize) -> u32 {
        self.waiting += 1;
        self.held += bytes;
        if !self.ordered {
            return 0;
        }
        let behind = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push_back(None);
        self.first.wrapping_add(behind)
    }

    /// Whether the answer to a call that begins now may leave at once.
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.slots.is_empty()
    }

    /// A call begins and is answered at once, but its answer may not leave yet.
    pub(super) fn pass(&mut self, answer: A) {
        debug_assert!(!self.is_clear(), "it may leave");
        self.slots.push_back(Some(answer));
    }

    /// A call that was opened is answered. Gives the answer back if it may leave now; otherwise it may leave by
    /// [`next`](Self::next), soon or later.
    pub(super) fn settle(&mut self, number: u32, bytes: usize, answer: A) -> Option<A> {
        self.waiting = self.waiting.saturating_sub(1);
        self.held = self.held.saturating_sub(bytes);
        if !self.ordered {
            return Some(answer);
        }
        let slot = self.slots.get_mut(number.wrapping_sub(self.first) as usize);
        debug_assert!(matches!(slot, Some(None)), "a call is answered once, and while its slot is there");
        if let Some(slot) = slot {
            *slot = Some(answer);
        }
        None
    }

    /// The next answer that may leave.
    pub(super) fn next(&mut self) -> Option<A> {
        let answer = self.slots.pop_front_if(|front| front.is_some())?;
        self.first = self.first.wrapping_add(1);
        answer
    }
}
