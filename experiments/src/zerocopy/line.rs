//! One connection that lends: what the kernel has of it, and whose tokens wait for that.

use std::collections::VecDeque;
use std::time::Instant;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::{Lending, Token};

use super::kernel::Notification;
use super::policy::Policy;
use super::stats::LendingStats;
use super::tracker::Tracker;

/// Bytes that the kernel reads until it says that it is done.
#[derive(Debug)]
struct Lent {
    bytes: Chain,
    at: Instant,
}

/// Lets go of lent memory whose pages can be exchanged for fresh ones; else gives it back.
pub(super) fn exchange(mut segment: Segment) -> Result<(), Segment> {
    if segment.exchange_pages() { Ok(()) } else { Err(segment) }
}

/// Lets go of memory that was not given back, for good: what cannot get fresh pages is leaked, for it must not get into
/// other hands as it is.
pub(super) fn exchange_or_leak(segments: Vec<Segment>) {
    let mut blocks: Vec<Segment> = Vec::new();
    for segment in segments {
        // While there are two views of a block, nobody is alone with it.
        if !blocks.iter().any(|other| other.shares_block_with(&segment)) {
            blocks.push(segment);
        }
    }
    for segment in blocks {
        if let Err(segment) = exchange(segment) {
            std::mem::forget(segment);
        }
    }
}

/// A token whose bytes are sent, and whose memory may be lent.
#[derive(Debug)]
struct Waiting {
    token: Token,
    /// The numbers of the calls that may have lent some of it: from the first up to the second, which is not among them.
    numbers: (u32, u32),
    copied: bool,
}

/// What the path knows of one connection. One that never lends has nothing of it on the heap.
#[derive(Debug, Default)]
pub struct Line {
    pub(super) policy: Policy,
    /// The error queue had something that no report of the kernel has led to: a report that comes now is out of date.
    news: bool,
    busy: Option<Box<Busy>>,
}

#[derive(Debug, Default)]
struct Busy {
    tracker: Tracker<Lent>,
    waiting: VecDeque<Waiting>,
    /// The first number that no token has waited for yet.
    unclaimed: u32,
    /// One of those since was copied after all.
    copied: bool,
    /// Calls since the error queue was last looked into.
    unheeded: u32,
}

impl Busy {
    fn take_all(&mut self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for mut lent in self.tracker.take_all() {
            while let Some(segment) = lent.bytes.pop() {
                segments.push(segment);
            }
        }
        segments
    }
}

impl Drop for Busy {
    /// With its driver, or in a panic: nobody will hear of what is lent.
    fn drop(&mut self) {
        exchange_or_leak(self.take_all());
    }
}

impl Line {
    /// Whether the kernel has memory, or a token waits.
    pub(super) fn is_lent(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.tracker.lent() > 0)
    }

    /// Whether one more call may lend.
    pub(super) fn has_room(&self) -> bool {
        self.busy.as_ref().is_none_or(|busy| !busy.tracker.is_full())
    }

    /// Calls that have lent since the error queue was last looked into.
    pub(super) fn unheeded(&self) -> u32 {
        self.busy.as_ref().map_or(0, |busy| busy.unheeded)
    }

    /// The error queue was looked into, and is empty now.
    pub(super) fn heeded(&mut self, any: bool) {
        self.news |= any;
        if let Some(busy) = &mut self.busy {
            busy.unheeded = 0;
        }
    }

    /// The kernel reports an error. Answers whether what was found in the queue explains that.
    pub(super) fn explains_report(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The kernel numbers the calls of this socket from `first` on.
    pub(super) fn begin(&mut self, first: u32) {
        if first != 0 && self.busy.is_none() {
            let mut busy = Box::<Busy>::default();
            busy.tracker = Tracker::starting_at(first);
            busy.unclaimed = first;
            self.busy = Some(busy);
        }
    }

    /// A call has lent these bytes.
    pub(super) fn lend(&mut self, bytes: Chain, stats: &LendingStats) {
        self.policy.has_lent();
        stats.lends.add(1);
        stats.lent_bytes.add(bytes.len() as u64);
        stats.memory.lent(bytes.len());
        let busy = self.busy.get_or_insert_default();
        busy.unheeded += 1;
        busy.tracker.lend(Lent { bytes, at: Instant::now() });
    }

    /// The bytes of a token's send are gone. Answers what became of their memory, unless it may be lent.
    pub(super) fn finished(&mut self, token: Token) -> Option<Lending> {
        let Some(busy) = &mut self.busy else { return Some(Lending::Copied) };
        let next = busy.tracker.next();
        let numbers = (std::mem::replace(&mut busy.unclaimed, next), next);
        let copied = std::mem::take(&mut busy.copied) || numbers.0 == numbers.1;
        if busy.tracker.is_back(next) {
            return Some(lending(copied));
        }
        busy.waiting.push_back(Waiting { token, numbers, copied });
        None
    }

    /// Memory comes back.
    pub(super) fn take_back(
        &mut self,
        Notification { from, to, copied }: Notification,
        stats: &LendingStats,
        mut release: impl FnMut(Token, Lending),
    ) {
        let Some(busy) = &mut self.busy else { return stats.strays.add(1) };
        let taken = busy.tracker.take_back(from, to, |mut lent| {
            let (bytes, after) = (lent.bytes.len(), lent.at.elapsed());
            stats.returned(bytes, after);
            stats.memory.returned(bytes, after, copied);
            lent.bytes = Chain::new();
        });
        if taken.is_err() {
            return stats.strays.add(1);
        }
        stats.notifications.add(1);
        if copied {
            stats.copied.add(1);
            // Before or behind, in serial order: the numbers of a token are a short run.
            let meets = |(first, end): (u32, u32)| {
                from.wrapping_sub(end).cast_signed() < 0 && first.wrapping_sub(to).cast_signed() <= 0
            };
            busy.waiting.iter_mut().filter(|it| meets(it.numbers)).for_each(|it| it.copied = true);
            busy.copied |= meets((busy.unclaimed, busy.tracker.next()));
        }
        self.policy.is_back(copied);
        while let Some(first) = busy.waiting.front().filter(|first| busy.tracker.is_back(first.numbers.1)) {
            release(first.token, lending(first.copied));
            busy.waiting.pop_front();
        }
    }

    /// Gives up waiting: the memory that is lent, and the tokens that wait for it.
    pub(super) fn give_up(&mut self, stats: &LendingStats) -> (Vec<Segment>, Vec<Token>) {
        let Some(mut busy) = self.busy.take() else { return Default::default() };
        let segments = busy.take_all();
        stats.given_up(segments.iter().map(Segment::len).sum());
        let tokens = std::mem::take(&mut busy.waiting).into_iter().map(|waiting| waiting.token).collect();
        (segments, tokens)
    }
}

fn lending(copied: bool) -> Lending {
    if copied { Lending::Copied } else { Lending::Lent }
}
