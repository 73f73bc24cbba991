//! Threads that calls are made on, so that no loop waits for them.
//!
//! ```text
//!   loop                                    workers
//!   ----                                    -------
//!   during a turn: messages are cut
//!   end of the turn: push all  ----------->  queue  ----> pop one, call, send the answer home; again
//!                    wake one, if needed                  nothing: announce sleep, look again, sleep
//! ```
//!
//! All loops and workers share one queue, and a worker takes one call at a time. So a slow call holds back no other,
//! as long as there is a worker left; and no call waits in one worker's hands while another has nothing to do.
//!
//! # Whom to wake
//!
//! That no call is forgotten is the business of `handover::SleepSet`: whoever adds work wakes a sleeper, or knows of a worker that
//! is awake and will look at the queue before it sleeps. How many should be awake is a matter of cost. A wake-up costs
//! as much as dozens of short calls, so:
//!
//! | while calls are | whoever adds work | a worker that takes a call, and leaves others in the queue |
//! |---|---|---|
//! | fast | wakes one if all sleep | wakes nobody: it will be back before somebody else is up |
//! | slow | wakes one, unless one is up and searching | likewise |
//!
//! Calls are slow while one of the last few hundred took more than about what a wake-up costs. A call that is slow
//! without warning holds up, while all others sleep, what is in the queue; a loop notices that after
//! [a millisecond](crate::service::lane), and wakes one.
//!
//! # On which processor, and when
//!
//! Workers share processors with loops, and with each other. By the kernel's usual rules a thread in a slow call keeps
//! its processor for some milliseconds while a loop with an answer to send, or a worker with a fast call, waits for it;
//! and a worker that a loop wakes may take the processor from that very loop. Then a pool makes the tail longer, not
//! shorter. So workers ask for the shortest time slice there is, and for a little less than a loop's share
//! ([`WorkOptions`]): whoever wakes up waits for 0.1 ms at most, and a loop does not wait for workers.
//!
//! # The end
//!
//! When the last [`WorkPool`] goes, the workers end after the calls they are in, and are waited for. Calls still in the
//! queue are left unanswered. Services and loops keep a pool alive, so this comes after the last of both.

#[cfg(test)]
mod models;
mod shared;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::sync::{Arc, counters, thread};
pub(crate) use shared::{Job, Shared};

/// Workers for each processor in a pool of the usual size: enough for some calls to be slow.
const PER_PROCESSOR: usize = 4;

/// The shortest slice that the kernel gives.
const SLICE: Duration = Duration::from_micros(100);

/// About half of the share of a thread without a nice value, where both want more than there is.
const NICE: u8 = 3;

counters! {
    /// Counters of a pool's workers.
    pub struct WorkMetrics {
        /// Calls begun.
        pub calls,
        /// Calls that were not made, because their connections had gone before a worker came for them.
        pub skipped,
        /// Calls that panicked.
        pub panics,
        /// Times a worker was woken.
        pub wakes,
        /// Workers whose slice or nice value the kernel has refused.
        pub scheduling_refused,
    }
}

/// How many workers a pool has, and how the kernel is to schedule them, each of them as a thread of its own.
///
/// What the kernel refuses, or does not know, is left as it is, and noted in [`WorkMetrics::scheduling_refused`].
/// Threads that calls start inherit slice and nice value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkOptions {
    /// The number of threads, at least one. If calls block, as many as may block at once, and some more. Default: four
    /// for each processor.
    pub threads: usize,
    /// The time slice to ask for (sched_setattr(2), Linux 6.12), from 0.1 to 100 ms; `None`: the usual one. It is for
    /// so long that a loop, or a worker with another call, may have to wait for a worker that is in a slow call. A
    /// longer one saves some switching where only throughput counts. Default: 0.1 ms.
    pub slice: Option<Duration>,
    /// What to add to the nice value (nice(2)), so that loops come before workers where both want the same processor.
    /// Each step takes about a fifth of the share, also in favour of other programs. Default: 3.
    pub nice: u8,
}

impl Default for WorkOptions {
    fn default() -> Self {
        let threads = PER_PROCESSOR * available_parallelism().map_or(1, NonZeroUsize::get);
        Self { threads, slice: Some(SLICE), nice: NICE }
    }
}

/// See [`WorkOptions`].
#[derive(Clone, Copy, Debug, Default)]
struct Scheduling {
    slice: Option<Duration>,
    nice: u8,
}

/// A pool of threads that make calls; see [`Dispatch::Pool`](super::Dispatch::Pool). Cheap to clone, and shared by as many
/// services and servers as like. With the last clone the threads end: whoever drops it waits for the calls they are
/// in, and calls that have not begun are left unanswered.
#[derive(Clone)]
pub struct WorkPool(Arc<Workers>);

struct Workers {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    ids: Vec<thread::ThreadId>,
}

impl WorkPool {
    /// A pool of so many threads, at least one. If calls block, as many as may block at once, and some more.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::with_options(WorkOptions { threads, ..WorkOptions::default() })
    }

    /// A pool of the usual size: four threads for each processor.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_processors() -> io::Result<Self> {
        Self::with_options(WorkOptions::default())
    }

    /// A pool as wanted.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(options: WorkOptions) -> io::Result<Self> {
        let WorkOptions { threads, slice, nice } = options;
        Self::start(Arc::new(Shared::new(threads.max(1))), Scheduling { slice, nice })
    }

    fn start(shared: Arc<Shared>, scheduling: Scheduling) -> io::Result<Self> {
        let threads = shared.threads();
        // Dropped, and so ended, when a thread cannot be started.
        let mut workers = Workers { shared, threads: Vec::new(), ids: Vec::new() };
        for number in 0..threads {
            let shared = Arc::clone(&workers.shared);
            let builder = thread::Builder::new().name(format!("linkpoll-work-{number}"));
            let thread = builder.spawn(move || {
                shared.settle(number, scheduling);
                shared.work(number);
            })?;
            workers.ids.push(thread.thread().id());
            workers.threads.push(thread);
        }
        Ok(Self(Arc::new(workers)))
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.0.shared.threads()
    }

    /// What the workers have counted together.
    #[must_use]
    pub fn metrics(&self) -> WorkMetrics<u64> {
        self.0.shared.metrics()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop();
        let own = thread::current().id();
        for (thread, id) in self.threads.drain(..).zip(&self.ids) {
            // A call may own the last clone of its own pool.
            if *id != own {
                drop(thread.join());
            }
        }
        self.shared.abandon();
    }
}

impl fmt::Debug for WorkPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkPool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}
