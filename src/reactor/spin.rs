//! Whether a loop looks for work again before it sleeps.
//!
//! A sleep and a wake-up cost some microseconds on bare metal and some tens on a virtual machine; looking costs a
//! fraction of one, and a processor.

use std::time::{Duration, Instant};

/// The policy of a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spin {
    /// Sleep whenever there is nothing to do.
    #[default]
    Never,
    /// After work, look once, then sleep.
    Once,
    /// After work, look for up to 100 us if that has found work lately, and now and then to find out whether it
    /// would. The number of processors plays no part.
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
    /// Spins begun, and spins that found work.
    begun: u64,
    paid: u64,
}

impl Spinner {
    pub(super) fn new(policy: Spin) -> Self {
        Self { policy, credit: MOST_CREDIT / 2, unprobed: 0, until: None, begun: 0, paid: 0 }
    }

    /// The time the next wait may take: zero to look, or `rest`. `worked` tells whether the last turn found work.
    pub(super) fn timeout(&mut self, worked: bool, rest: Option<Duration>) -> Option<Duration> {
        let spin = match self.policy {
            Spin::Never => false,
            Spin::Once => worked,
            Spin::Always => true,
            Spin::Adaptive => self.adapt(worked, Instant::now),
        };
        if spin { Some(Duration::ZERO) } else { rest }
    }

    fn adapt(&mut self, worked: bool, now: impl Fn() -> Instant) -> bool {
        if worked {
            if self.until.take().is_some() {
                self.paid += 1;
                self.credit = (self.credit + 1).min(MOST_CREDIT);
            }
            let spin = self.credit > 0 || self.is_time_to_probe();
            if spin {
                self.begun += 1;
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

    /// How many spins were begun, and how many of them found work, since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.begun), std::mem::take(&mut self.paid))
    }

    fn is_time_to_probe(&mut self) -> bool {
        self.unprobed = (self.unprobed + 1) % PROBE_EVERY;
        self.unprobed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spins(spinner: &mut Spinner, worked: bool, at: Instant) -> bool {
        spinner.adapt(worked, || at)
    }

    #[test]
    fn spinning_stops_when_it_does_not_pay_and_resumes_when_it_does() {
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
    }
}
