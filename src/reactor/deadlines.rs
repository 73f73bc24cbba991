//! When to look again, and what is not about one connection: resting listeners, the end of a drain.

use std::time::Duration;

use super::Reactor;
use crate::driver::Driver;

impl<D: Driver> Reactor<D> {
    /// The time until the first deadline.
    pub(super) fn until_deadline(&self) -> Option<Duration> {
        let resting = self.resting.front().map(|(at, _)| *at);
        let first =
            [self.wheel.next(), resting, self.leave_until, self.drain_until].into_iter().flatten().min();
        let rest = first.map(|first| first.saturating_duration_since(self.driver.now()));
        rest.into_iter().chain(self.locals.rest()).min()
    }

    pub(super) fn meet_deadlines(&mut self) {
        if self.resting.is_empty() && self.drain_until.is_none() && self.leave_until.is_none() {
            return;
        }
        let now = self.now();
        while let Some((_, key)) = self.resting.pop_front_if(|(at, _)| *at <= now) {
            if !self.is_full() {
                self.driver.receive(key, true);
            }
        }
        if self.leave_until.is_some_and(|at| at <= now) {
            self.end_leaving();
        }
        if self.drain_until.is_some_and(|at| at <= now) {
            self.end_drain();
        }
    }
}
