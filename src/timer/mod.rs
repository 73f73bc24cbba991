//! Timers of one loop: a hierarchical timing wheel, with at most one timer for each slot.
//!
//! The structure is scheme 7 of Varghese and Lauck, *Hashed and Hierarchical Timing Wheels* (SOSP 1987), with the
//! time in nanoseconds and no tick: a deadline is not rounded, so a timer is never early and never late (T-1).
//!
//! A moment is a number of 64 bits, read as 11 digits to the base 64. A timer is filed under the highest digit in
//! which its deadline differs from the time that has passed:
//!
//! ```text
//!   passed    3 | 17 | 40 | 05        level = the highest digit that differs
//!   deadline  3 | 17 | 52 | 61   -->  level 1, bucket 52
//!             .    .    ^             all digits above are equal, so this one is larger
//! ```
//!
//! So buckets of a level are in the order of time and never wrap around, every timer of a level is due before any of
//! the next, and the first timer is in the first bucket of the lowest level that has one: two bit scans. When the
//! time comes to the start of a bucket, its timers are filed anew, each at a lower level; those at level 0 are due.
//!
//! | operation | cost |
//! |---|---|
//! | arm, arm anew, disarm | constant: a bucket is a doubly linked list |
//! | `next` | constant: exact if the first bucket has few timers, else its start, which is earlier |
//! | `expired` | a timer is filed anew at most once a level, ten times; mostly its whole bucket is skipped to |
//!
//! Nothing is allocated but 16 bytes for each slot up to the highest that was ever armed (T-2).

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// Bits of a digit, and how many digits a moment has.
const BITS: u32 = 6;
const LEVELS: u32 = u64::BITS.div_ceil(BITS);
const BUCKETS: u32 = 1 << BITS;
/// The heads of the lists come first among the nodes, then the timers.
const HEADS: u32 = LEVELS * BUCKETS;
/// The link of a timer that is not armed.
const UNLINKED: u32 = u32::MAX;
/// So many timers of the first bucket are looked at by [`Wheel::next`].
const LOOKED_AT: usize = 8;

/// A timer, or the head of a bucket's circular list.
#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    previous: u32,
    deadline: u64,
}

impl Node {
    const UNARMED: Self = Self { next: UNLINKED, previous: UNLINKED, deadline: 0 };
}

/// The timers; see the module's documentation.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    /// The time that has passed since the start, as far as it was looked at. Every timer is filed relative to it.
    passed: u64,
    timers: usize,
    /// The levels that have timers, and of each level the buckets that have.
    levels: u16,
    buckets: [u64; LEVELS as usize],
    nodes: Vec<Node>,
}

impl Wheel {
    /// A wheel without timers. Moments before `start` count as `start`; moments more than 584 years later as that.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        let heads = (0..HEADS).map(|head| Node { next: head, previous: head, deadline: 0 });
        Self { start, passed: 0, timers: 0, levels: 0, buckets: [0; LEVELS as usize], nodes: heads.collect() }
    }

    /// Arms the timer of `slot` for `at`, whether or not it was armed before.
    ///
    /// # Panics
    /// With one of the 705 highest numbers of slots.
    #[inline]
    pub fn arm(&mut self, slot: u32, at: Instant) {
        let at = self.nanoseconds(at);
        self.arm_at(slot, at);
    }

    /// Sees to it that the timer of `slot` comes up at `at` or earlier: one that is armed for later is moved, one
    /// that is armed for an earlier moment is left alone.
    ///
    /// # Panics
    /// As [`arm`](Self::arm).
    #[inline]
    pub fn arm_by(&mut self, slot: u32, at: Instant) {
        let at = self.nanoseconds(at);
        if self.armed(slot).is_none_or(|node| at < self.node(node).deadline) {
            self.arm_at(slot, at);
        }
    }

    /// Disarms the timer of `slot`. Answers whether it was armed.
    #[inline]
    pub fn disarm(&mut self, slot: u32) -> bool {
        let Some(node) = self.armed(slot) else { return false };
        self.unlink(node);
        true
    }

    /// What the timer of `slot` is armed for.
    #[must_use]
    pub fn deadline(&self, slot: u32) -> Option<Instant> {
        self.armed(slot).map(|node| self.moment(self.node(node).deadline))
    }

    /// Whether no timer is armed.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timers == 0
    }

    /// How many timers are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timers
    }

    /// When to look again with [`expired`](Self::expired): not later than the first deadline (or than now, if that
    /// has passed), but perhaps earlier if there are several near to each other.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let (head, start) = self.first_bucket()?;
        let mut first = u64::MAX;
        let mut node = self.node(head).next;
        for _ in 0..LOOKED_AT {
            if node == head {
                break;
            }
            let Node { next, deadline, .. } = *self.node(node);
            first = first.min(deadline);
            node = next;
        }
        Some(self.moment(if node == head { first } else { start }))
    }

    /// Disarms a timer whose deadline is `now` or has passed, and answers its slot. To be called until it answers
    /// `None`. Time does not go back: a `now` before one that has been worked off counts as that.
    pub fn expired(&mut self, now: Instant) -> Option<u32> {
        let now = self.nanoseconds(now).max(self.passed);
        while let Some((head, start)) = self.first_bucket().filter(|(_, start)| *start <= now) {
            // Timers that were armed too late are filed under the time that had passed then.
            self.passed = start.max(self.passed);
            if head < BUCKETS {
                let node = self.node(head).next;
                self.unlink(node);
                return Some(node - HEADS);
            }
            self.file_anew(head);
        }
        self.passed = now;
        None
    }

    fn arm_at(&mut self, slot: u32, at: u64) {
        let node = slot.checked_add(HEADS).filter(|node| *node != UNLINKED);
        let Some(node) = node else { panic!("no timer for slot {slot}") };
        match self.nodes.get(node as usize) {
            None => self.nodes.resize(node as usize + 1, Node::UNARMED),
            Some(Node { next: UNLINKED, .. }) => {}
            Some(_) => self.unlink(node),
        }
        self.node_mut(node).deadline = at;
        self.link(node);
    }

    /// The node of a timer, if it is armed.
    #[inline]
    fn armed(&self, slot: u32) -> Option<u32> {
        let node = slot.checked_add(HEADS)?;
        self.nodes.get(node as usize).filter(|node| node.next != UNLINKED).map(|_| node)
    }

    #[inline]
    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    #[inline]
    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// The head of the first bucket that has a timer, and the moment from which it counts.
    #[inline]
    fn first_bucket(&self) -> Option<(u32, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let bucket = self.buckets[level as usize].trailing_zeros();
        // The digits above are those of the time passed; above the highest level there are none.
        let above = self.passed.checked_shr(BITS * (level + 1)).unwrap_or(0);
        let start = (above << BITS | u64::from(bucket)) << (BITS * level);
        Some((level * BUCKETS + bucket, start))
    }

    /// Files a timer under its deadline.
    #[inline]
    fn link(&mut self, node: u32) {
        let deadline = self.node(node).deadline.max(self.passed);
        let level = ((deadline ^ self.passed) | 1).ilog2() / BITS;
        let bucket = digit(deadline, level);
        self.levels |= 1 << level;
        self.buckets[level as usize] |= 1 << bucket;
        let head = level * BUCKETS + bucket;
        let last = std::mem::replace(&mut self.node_mut(head).previous, node);
        self.node_mut(last).next = node;
        let this = self.node_mut(node);
        (this.next, this.previous) = (head, last);
        self.timers += 1;
    }

    #[inline]
    fn unlink(&mut self, node: u32) {
        let Node { next, previous, .. } = *self.node(node);
        self.node_mut(node).next = UNLINKED;
        self.node_mut(previous).next = next;
        self.node_mut(next).previous = previous;
        self.timers -= 1;
        // Only the head is left of a list whose last timer has gone.
        if next == previous && next < HEADS {
            self.note_empty(next);
        }
    }

    #[inline]
    fn note_empty(&mut self, head: u32) {
        let (level, bucket) = (head / BUCKETS, head % BUCKETS);
        self.buckets[level as usize] &= !(1 << bucket);
        if self.buckets[level as usize] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Files the timers of a bucket whose start has come: each comes to a lower level.
    fn file_anew(&mut self, head: u32) {
        let mut node = self.node(head).next;
        *self.node_mut(head) = Node { next: head, previous: head, deadline: 0 };
        self.note_empty(head);
        while node != head {
            let next = self.node(node).next;
            self.timers -= 1;
            self.link(node);
            node = next;
        }
    }

    #[inline]
    fn nanoseconds(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        let whole = since.as_secs().saturating_mul(1_000_000_000);
        whole.saturating_add(u64::from(since.subsec_nanos()))
    }

    fn moment(&self, nanoseconds: u64) -> Instant {
        self.start + Duration::from_nanos(nanoseconds)
    }
}

/// One digit of a moment.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a digit is less than 64")]
fn digit(moment: u64, level: u32) -> u32 {
    (moment >> (BITS * level)) as u32 % BUCKETS
}
