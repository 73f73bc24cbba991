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

use crate::sync::{Arc, counters, thread};
pub(crate) use shared::{Job, Shared};

/// Workers for each processor in a pool of the usual size: enough for some calls to be slow.
const PER_PROCESSOR: usize = 4;

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
    }
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
        Self::start(Arc::new(Shared::new(threads.max(1))))
    }

    /// A pool of the usual size: four threads for each processor.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_processors() -> io::Result<Self> {
        Self::new(PER_PROCESSOR * available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let threads = shared.threads();
        // Dropped, and so ended, when a thread cannot be started.
        let mut workers = Workers { shared, threads: Vec::new(), ids: Vec::new() };
        for number in 0..threads {
            let shared = Arc::clone(&workers.shared);
            let builder = thread::Builder::new().name(format!("linkpoll-work-{number}"));
            let thread = builder.spawn(move || shared.work(number))?;
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
