//! Stopping: a word that only grows.
//!
//! | level | the loop |
//! |---|---|
//! | run | serves |
//! | drain | listens no more; each connection sends what it owes and closes; limited by `drain_limit` |
//! | now | closes every connection at once |
//!
//! **Asking first.** Where the transport has a word for it ([`Driver::leave`]), a draining loop asks its peers to end their
//! connections, and goes on serving each until it has, for at most `leave_limit`: so what was under way is answered, and
//! nothing is cut off between two requests. Handlers are told to drain only then, and where there is no such word at once.
//!
//! The word is sticky: a loop that is stopped before its first turn finds the word when it comes to it (L-5, X-32).
//! A stopper raises the word, then wakes the loops; a loop announces its sleep, then reads the word. The fences in
//! `handover::SleepFlag` see to it that one of them notices the other.

use std::fmt;

use super::Reactor;
use crate::conn::CloseReason;
use crate::driver::Driver;
use crate::handover::Wake;
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::trace::event;

/// How far a loop has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Run,
    Drain,
    Now,
}

/// The word that all loops of a server read.
#[derive(Debug)]
pub struct StopWord(AtomicUsize);

impl Default for StopWord {
    fn default() -> Self {
        Self(AtomicUsize::new(Level::Run as usize))
    }
}

impl StopWord {
    fn raise(&self, level: Level) {
        // ORDERING: Relaxed: the wake-up that follows has the fence that orders it before the read of the loop's
        // sleep flag.
        self.0.fetch_max(level as usize, Ordering::Relaxed);
    }

    pub(super) fn level(&self) -> Level {
        // ORDERING: Relaxed: read after the fence of the announced sleep, see the module's documentation.
        match self.0.load(Ordering::Relaxed) {
            0 => Level::Run,
            1 => Level::Drain,
            _ => Level::Now,
        }
    }
}

/// Stops loops, from any thread, their own too; cheap to clone.
///
/// Stopping touches atomics and calls write(2), and nothing else: no lock, no memory is asked for. So it may be called
/// from a signal handler (signal-safety(7)), which must leave `errno` as it was. `examples/graceful.rs` does without
/// one: a thread waits for signals.
#[derive(Clone)]
pub struct Stopper {
    word: Arc<StopWord>,
    loops: Arc<Vec<Box<dyn Wake>>>,
}

impl Stopper {
    pub(crate) fn new(word: Arc<StopWord>, loops: Vec<Box<dyn Wake>>) -> Self {
        Self { word, loops: Arc::new(loops) }
    }

    /// Lets every loop drain and end. Returns at once; a second call does nothing.
    pub fn stop(&self) {
        self.raise(Level::Drain);
    }

    /// Makes every loop close its connections and end. Returns at once.
    pub fn stop_now(&self) {
        self.raise(Level::Now);
    }

    fn raise(&self, level: Level) {
        self.word.raise(level);
        self.loops.iter().for_each(|each| each.wake());
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").field("word", &self.word).finish_non_exhaustive()
    }
}

impl<D: Driver> Reactor<D> {
    /// Raises the stop word that this loop was made with, and wakes this loop; for a loop that runs without a server.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper::new(Arc::clone(&self.stop), vec![Box::new(self.mailbox.sender())])
    }

    /// Acts on a stop word that has grown. Answers whether it had.
    pub(super) fn heed_stop(&mut self) -> bool {
        let level = self.stop.level();
        if level == self.stopping {
            return false;
        }
        let before = std::mem::replace(&mut self.stopping, level);
        if before == Level::Run {
            self.begin_drain();
        }
        if level == Level::Now {
            self.end_drain();
        }
        true
    }

    fn begin_drain(&mut self) {
        self.drain_until = self.now().checked_add(self.options.drain_limit);
        event!(INFO, connections = self.metrics.connections(), "draining");
        let limit = self.options.leave_limit.min(self.options.drain_limit / 2);
        self.close_listeners();
        self.refuse_dials();
        for key in self.connection_keys() {
            if self.driver.leave(key) {
                if let Some(connection) = self.slots.connection(key) {
                    connection.leaving = true;
                }
                self.leave_until = self.now().checked_add(limit);
            } else {
                self.call_drain(key);
            }
        }
    }

    /// Whether handlers are told that the loop stops.
    pub(super) fn is_draining(&self) -> bool {
        self.stopping != Level::Run
    }

    /// Whoever was asked to end its connection, and has not, is not waited for any longer.
    pub(super) fn end_leaving(&mut self) {
        self.leave_until = None;
        for key in self.connection_keys() {
            let left = self.slots.connection(key).is_some_and(|it| std::mem::take(&mut it.leaving));
            if left {
                self.call_drain(key);
            }
        }
    }

    /// Closes what is left.
    pub(super) fn end_drain(&mut self) {
        self.drain_until = None;
        self.leave_until = None;
        for key in self.connection_keys() {
            self.close(key, CloseReason::DrainExpired);
        }
    }
}
