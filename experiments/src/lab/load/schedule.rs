//! The open loop's timetable, fixed before the first request.
//!
//! A request that cannot be sent on time keeps its place and its intended time: latency counts from there, so a
//! server that stops for a while is charged for every request it held up.

use std::time::Duration;

/// When each request is due, in nanoseconds of the load's clock.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: u64,
    interval: f64,
    total: u64,
    issued: u64,
}

impl Schedule {
    /// Requests at `rate` per second for `duration`, the first one at `start`; at least one.
    #[expect(clippy::cast_possible_truncation, reason = "a count of requests, far below 2^53")]
    pub(crate) fn new(start: u64, rate: f64, duration: Duration) -> Self {
        let total = (rate * duration.as_secs_f64()).round().max(1.0) as u64;
        Self { start, interval: 1e9 / rate, total, issued: 0 }
    }

    /// The intended time of the next request that was not issued; `None` when all were.
    pub(crate) fn next(&self) -> Option<u64> {
        (self.issued < self.total).then(|| self.intended(self.issued))
    }

    /// Issues the next request if its time has come, and returns its intended time.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let intended = self.next().filter(|intended| *intended <= now)?;
        self.issued += 1;
        Some(intended)
    }

    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of a run, far below 2^53")]
    fn intended(&self, index: u64) -> u64 {
        self.start + (index as f64 * self.interval) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced_and_counted() {
        let mut schedule = Schedule::new(1_000, 1e6, Duration::from_micros(4));
        let times: Vec<_> = std::iter::from_fn(|| schedule.take(u64::MAX)).collect();
        assert_eq!(times, [1_000, 2_000, 3_000, 4_000]);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn nothing_is_due_early() {
        let mut schedule = Schedule::new(1_000, 1e6, Duration::from_millis(1));
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(1_000));
        assert_eq!(schedule.take(1_999), None);
        assert_eq!(schedule.next(), Some(2_000));
    }

    #[test]
    fn a_late_request_keeps_its_intended_time() {
        let mut schedule = Schedule::new(0, 1e3, Duration::from_secs(1));
        let late = 500_000_000;
        assert_eq!(schedule.take(late), Some(0));
        assert_eq!(schedule.take(late), Some(1_000_000));
    }

    #[test]
    fn uneven_intervals_do_not_drift() {
        let mut schedule = Schedule::new(0, 3.0, Duration::from_secs(100));
        let last = std::iter::from_fn(|| schedule.take(u64::MAX)).last().unwrap();
        assert_eq!(last, 99_666_666_666);
    }
}
