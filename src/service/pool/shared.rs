//! What loops and workers share: the queue, who sleeps, and how slow calls are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Scheduling, WorkMetrics};
use crate::handover::SleepSet;
use crate::panics;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, Parker, Queue, ticks};
use crate::sys;
use crate::trace::event;

/// Calls that take longer, in nanoseconds, are slow: about what it costs to wake a thread.
const SLOW: u64 = 20_000;

/// What the slowest call of late counts less with each call.
const FADING: u64 = 64;

/// Something for a worker to do, once.
pub(crate) trait Job: Send {
    /// Whether anybody waits for it still. What nobody waits for is dropped instead.
    fn is_wanted(&mut self) -> bool {
        true
    }

    /// Does it. A panic is contained by the caller.
    fn run(self: Box<Self>);

    /// It will not be done.
    fn abandon(self: Box<Self>);
}

/// See the module's documentation.
pub(crate) struct Shared {
    jobs: Queue<Box<dyn Job>>,
    sleepers: SleepSet,
    seats: Box<[Seat]>,
    /// Workers that were woken, and have neither found work yet nor announced their sleep again.
    searching: AtomicUsize,
    /// How long the slowest call of late took, in nanoseconds, faded.
    slowest: AtomicU64,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Seat {
    parker: Parker,
    metrics: WorkMetrics,
}

impl Shared {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            jobs: Queue::new(),
            sleepers: SleepSet::new(threads),
            seats: (0..threads).map(|_| Seat::default()).collect(),
            searching: AtomicUsize::new(0),
            slowest: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn metrics(&self) -> WorkMetrics<u64> {
        self.seats.iter().map(|seat| seat.metrics.snapshot()).sum()
    }

    /// Calls begun or skipped so far, about.
    pub(crate) fn begun(&self) -> u64 {
        self.seats.iter().map(|seat| seat.metrics.calls.get() + seat.metrics.skipped.get()).sum()
    }

    /// Whether work waits, about.
    fn has_work(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether work waits while some sleep, about.
    pub(crate) fn is_waiting(&self) -> bool {
        self.has_work() && self.sleepers.look() > 0
    }

    /// Hands work over. Never blocks.
    pub(crate) fn hand_over(&self, jobs: impl Iterator<Item = Box<dyn Job>>) {
        jobs.for_each(|job| self.jobs.push(job));
        self.wake_one(false);
    }

    /// Sees to it that somebody comes for the work that was added; somebody who sleeps, if all do, or calls are slow, or
    /// the caller insists.
    pub(crate) fn wake_one(&self, insist: bool) {
        let asleep = self.sleepers.look();
        let needed = asleep == self.threads() || insist || (self.is_slow() && !self.is_searching());
        if asleep > 0
            && needed
            && let Some(thread) = self.sleepers.take()
        {
            // ORDERING: Relaxed: it counts, and what is decided by it is a matter of cost only.
            self.searching.fetch_add(1, Ordering::Relaxed);
            self.seats[thread].parker.unpark();
        }
    }

    fn is_searching(&self) -> bool {
        // ORDERING: Relaxed, after the fence of `look`: whoever is seen searching announces its sleep later than that, and
        // will look at the queue then.
        self.searching.load(Ordering::Relaxed) > 0
    }

    fn is_slow(&self) -> bool {
        // ORDERING: Relaxed: the value is all there is to see.
        self.slowest.load(Ordering::Relaxed) > SLOW
    }

    /// Counts calls as slow from now on.
    #[cfg(test)]
    pub(super) fn expect_slow(&self) {
        // ORDERING: Relaxed, as in `took`.
        self.slowest.store(u64::MAX, Ordering::Relaxed);
    }

    /// Ends all workers after the calls that they are in.
    pub(crate) fn stop(&self) {
        // ORDERING: Relaxed: the fence of `look` orders it before the bits that are taken; a worker reads it after the
        // fence of its announcement.
        self.stopped.store(true, Ordering::Relaxed);
        self.sleepers.look();
        while let Some(thread) = self.sleepers.take() {
            self.seats[thread].parker.unpark();
        }
    }

    fn is_stopped(&self) -> bool {
        // ORDERING: Relaxed, see `stop`.
        self.stopped.load(Ordering::Relaxed)
    }

    /// Lets go of what no worker will come for.
    pub(crate) fn abandon(&self) {
        while let Some(job) = self.jobs.pop() {
            job.abandon();
        }
    }

    /// A worker's first act.
    pub(super) fn settle(&self, thread: usize, scheduling: Scheduling) {
        let Scheduling { slice, nice } = scheduling;
        if (slice.is_some() || nice > 0)
            && let Err(_error) = sys::schedule(slice, nice)
        {
            self.seats[thread].metrics.scheduling_refused.add(1);
            event!(WARN, error = %_error, "a worker cannot be scheduled as asked");
        }
    }

    /// A worker's life.
    pub(crate) fn work(&self, thread: usize) {
        let metrics = &self.seats[thread].metrics;
        let mut searching = false;
        let mut since = None;
        while !self.is_stopped() {
            let Some(mut job) = self.jobs.pop() else {
                since = None;
                if std::mem::take(&mut searching) {
                    self.end_search();
                }
                searching = self.sleep(thread);
                continue;
            };
            if std::mem::take(&mut searching) {
                self.end_search();
            }
            if self.is_slow() && self.has_work() {
                self.wake_one(false);
            }
            let wanted = job.is_wanted();
            let counter = if wanted { &metrics.calls } else { &metrics.skipped };
            counter.add(1);
            let started = since.unwrap_or_else(ticks);
            let work = || if wanted { job.run() } else { drop(job) };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
                metrics.panics.add(1);
                panics::discard(payload);
            }
            let ended = ticks();
            self.took(ended.saturating_sub(started));
            since = Some(ended);
        }
    }

    fn end_search(&self) {
        // ORDERING: Relaxed, as in `wake_one`.
        self.searching.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sleeps, unless there is something to do. Answers whether somebody has woken this worker.
    fn sleep(&self, thread: usize) -> bool {
        let seat = &self.seats[thread];
        self.sleepers.arm(thread);
        let sleeps = self.jobs.is_empty() && !self.is_stopped();
        if sleeps {
            seat.parker.park();
        }
        let woken = self.sleepers.disarm(thread);
        if woken {
            seat.metrics.wakes.add(1);
        }
        woken
    }

    /// A call took so many nanoseconds.
    fn took(&self, nanoseconds: u64) {
        // ORDERING: Relaxed, here and below: a guess that other workers may overwrite.
        let slowest = self.slowest.load(Ordering::Relaxed);
        if slowest.max(nanoseconds) > SLOW / 2 {
            self.slowest.store(nanoseconds.max(slowest - slowest / FADING), Ordering::Relaxed);
        }
    }
}
