//! Whether a loop looks for work again before it sleeps.
//!
//! A sleep and a wake-up cost some microseconds on bare metal and some tens on a virtual machine; looking costs a
//! fraction of one, and a processor.

use std::time::{Duration, Instant};

use super::LoopMetrics;

/// The policy of a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spin {
    /// Sleep whenever there is nothing to do.
    #[default]
    Never,
    /// After work, look once, then sleep.
    Once,
    /// After work, look for a while if that has paid lately; see [`Spinner`].
    Adaptive,
    /// Never sleep.
    Always,
}

/// The longest time spent looking for nothing, about what a few sleeps cost.
const LONGEST: Duration = Duration::from_micros(100);
/// Each spin that finds work earns one, up to so many; each that does not costs two. Without credit a loop does not
/// spin, except for every so many-th time, to find out whether it would pay again.
const MOST_CREDIT: u32 = 8;
const PRICE: u32 = 2;
const PROBE_EVERY: u32 = 16;

/// Decides before each wait how long it may take. The adaptive policy judges by whether recent spins found work, and
/// by nothing else, such as the number of processors.
#[derive(Debug)]
pub(super) struct Spinner {
    policy: Spin,
    credit: u32,
    unprobed: u32,
    until: Option<Instant>,
}

impl Spinner {
    pub(super) fn new(policy: Spin) -> Self {
        Self { policy, credit: MOST_CREDIT / 2, unprobed: 0, until: None }
    }

    /// The time the next wait may take: zero to look, or `rest`. `worked` tells whether the last turn found work.
    pub(super) fn timeout(
        &mut self,
        worked: bool,
        rest: Option<Duration>,
        metrics: &LoopMetrics,
    ) -> Option<Duration> {
        let spin = match self.policy {
            Spin::Never => false,
            Spin::Once => worked,
            Spin::Always => true,
            Spin::Adaptive => self.adapt(worked, Instant::now, metrics),
        };
        if spin { Some(Duration::ZERO) } else { rest }
    }

    fn adapt(&mut self, worked: bool, now: impl Fn() -> Instant, metrics: &LoopMetrics) -> bool {
        if worked {
            if self.until.take().is_some() {
                metrics.spins_paid.add(1);
                self.credit = (self.credit + 1).min(MOST_CREDIT);
            }
            let spin = self.credit > 0 || self.is_time_to_probe();
            if spin {
                metrics.spins.add(1);
                self.until = Some(now() + LONGEST);
            }
            return spin;
        }
        match self.until {
            Some(until) if now() < until => true,
            Some(_) => {
                self.until = None;
                self.credit = self.credit.saturating_sub(PRICE);
                false
            }
            None => false,
        }
    }

    fn is_time_to_probe(&mut self) -> bool {
        self.unprobed = (self.unprobed + 1) % PROBE_EVERY;
        self.unprobed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::model::{Bound, model};

    fn spins(spinner: &mut Spinner, worked: bool, at: Instant) -> bool {
        spinner.adapt(worked, || at, &LoopMetrics::default())
    }

    #[cfg_attr(linkpoll_loom, ignore = "counters need a model around them")]
    #[test]
    fn spinning_stops_when_it_does_not_pay_and_resumes_when_it_does() {
        model("spin-adapts", Bound::Exhaustive, || {
            let mut spinner = Spinner::new(Spin::Adaptive);
            let start = Instant::now();
            let late = start + 2 * LONGEST;
            // Work that never comes while spinning uses up the credit.
            for _ in 0..MOST_CREDIT {
                spins(&mut spinner, true, start);
                assert!(!spins(&mut spinner, false, late), "a spin ends after its time");
            }
            let tries = (0..PROBE_EVERY).filter(|_| {
                let spun = spins(&mut spinner, true, start);
                spins(&mut spinner, false, late);
                spun
            });
            assert_eq!(tries.count(), 1, "without credit only probes spin");
            // A probe that pays brings it back.
            while !spins(&mut spinner, true, start) {}
            for _ in 0..MOST_CREDIT {
                assert!(spins(&mut spinner, true, start), "paid spins go on");
            }
        });
    }
}
