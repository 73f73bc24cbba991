//! The few things that happen because time passes. Each kind waits equally long, so a queue is in order by itself.

use std::time::{Duration, Instant};

use super::Reactor;
use crate::conn::{CloseReason, Phase};
use crate::driver::Driver;

impl<D: Driver> Reactor<D> {
    /// The time until the first deadline.
    pub(super) fn until_deadline(&self) -> Option<Duration> {
        let queued = [self.lingering.front(), self.resting.front()].into_iter().flatten().map(|(at, _)| *at);
        let first = queued.chain(self.drain_until).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    pub(super) fn meet_deadlines(&mut self) {
        if self.lingering.is_empty() && self.resting.is_empty() && self.drain_until.is_none() {
            return;
        }
        let now = Instant::now();
        while let Some((_, key)) = self.resting.pop_front_if(|(at, _)| *at <= now) {
            self.driver.receive(key, true);
        }
        while let Some((_, key)) = self.lingering.pop_front_if(|(at, _)| *at <= now) {
            let lingers =
                self.slots.connection(key).is_some_and(|it| it.automaton.phase() == Phase::Lingering);
            if lingers {
                self.close(key, CloseReason::Finished);
            }
        }
        if self.drain_until.is_some_and(|at| at <= now) {
            self.end_drain();
        }
    }
}
