//! How long to look before sleeping. It is pure: times go in, times come out.
//!
//! A sleep and a wake-up cost some microseconds, or some tens on a virtual machine; looking costs a processor. So it pays
//! to look as long as news usually take, unless they take longer than a sleep costs.
//!
//! * The estimate is a mean of recent gaps that falls quickly and rises slowly: one pause does not end a lively exchange,
//!   and the first quick answers after a pause begin one.
//! * A peer that we rang for sleeps, and has to wake up before it can do anything. Such a gap says nothing about the
//!   next one, and gets more time: otherwise two sides that both fell asleep once would never meet again.
//! * Where looking does not pay it is tried every so often all the same, to find out whether it does by now.

use std::time::Duration;

use linkpoll::reactor::Spin;

/// Without hope, one wait in so many looks all the same.
const PROBE_EVERY: u32 = 16;
/// The shortest time that it is worthwhile to begin looking for, in nanoseconds.
const LEAST: u64 = 2_000;

/// The estimate of one side.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    policy: Spin,
    /// The longest look, in nanoseconds.
    most: u64,
    /// The usual gap, in nanoseconds, at most twice `most`.
    gap: u64,
    unprobed: u32,
}

/// How long to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Not at all.
    Never,
    /// A few times.
    Once,
    /// So long.
    For(Duration),
    /// Until there is news.
    Always,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Patience {
    /// Begins with hope. `most` is the longest look.
    pub(super) fn new(policy: Spin, most: Duration) -> Self {
        let most = nanoseconds(most).min(u64::MAX / 32);
        Self { policy, most, gap: most / 2, unprobed: 0 }
    }

    pub(super) fn set_policy(&mut self, policy: Spin) {
        self.policy = policy;
    }

    /// How long the next wait looks. `rang` says that the peer was woken for it.
    pub(super) fn look(&mut self, rang: bool) -> Look {
        match self.policy {
            Spin::Never => return Look::Never,
            Spin::Once => return Look::Once,
            Spin::Always => return Look::Always,
            Spin::Adaptive => {}
        }
        let time = if self.gap <= self.most {
            (self.gap * 2).clamp(LEAST.min(self.most), self.most)
        } else {
            self.unprobed += 1;
            if self.unprobed < PROBE_EVERY {
                return Look::Never;
            }
            self.unprobed = 0;
            self.most
        };
        let time = if rang { time + self.most } else { time };
        if time == 0 { Look::Never } else { Look::For(Duration::from_nanos(time)) }
    }

    /// News came `gap` after the wait began.
    pub(super) fn learn(&mut self, gap: Duration, rang: bool) {
        let gap = nanoseconds(gap).saturating_sub(if rang { self.most } else { 0 }).min(self.most * 2);
        self.gap = if gap < self.gap { (self.gap + gap) / 2 } else { (self.gap * 7 + gap) / 8 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(50);

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn looks(patience: &mut Patience) -> bool {
        patience.look(false) != Look::Never
    }

    #[test]
    fn it_looks_about_twice_as_long_as_news_take() {
        let mut patience = Patience::new(Spin::Adaptive, MOST);
        (0..100).for_each(|_| patience.learn(us(10), false));
        let Look::For(time) = patience.look(false) else { panic!("it looks") };
        assert!((us(19)..=us(21)).contains(&time), "{time:?}");
        (0..100).for_each(|_| patience.learn(us(40), false));
        assert_eq!(patience.look(false), Look::For(MOST), "and not longer than it may");
    }

    #[test]
    fn looks_that_do_not_pay_end_but_for_a_few() {
        let mut patience = Patience::new(Spin::Adaptive, MOST);
        let looked = (0..1600).filter(|_| {
            let looked = looks(&mut patience);
            patience.learn(us(5000), false);
            looked
        });
        assert!((95..=110).contains(&looked.count()));
    }

    #[test]
    fn one_pause_does_not_end_a_lively_exchange() {
        let mut patience = Patience::new(Spin::Adaptive, MOST);
        (0..100).for_each(|_| patience.learn(us(20), false));
        patience.learn(us(1_000_000), false);
        assert!(looks(&mut patience));
    }

    #[test]
    fn the_first_quick_news_after_a_long_quiet_begin_one() {
        let mut patience = Patience::new(Spin::Adaptive, MOST);
        (0..100).for_each(|_| patience.learn(us(5000), false));
        assert!(!looks(&mut patience));
        patience.learn(us(10), false);
        patience.learn(us(10), false);
        assert!(looks(&mut patience));
    }

    #[test]
    fn a_peer_that_was_woken_gets_more_time() {
        let mut patience = Patience::new(Spin::Adaptive, MOST);
        (0..100).for_each(|_| patience.learn(us(10), false));
        let Look::For(time) = patience.look(true) else { panic!("it looks") };
        assert!(time > MOST, "{time:?}");
        (0..100).for_each(|_| patience.learn(us(60), true));
        assert!(looks(&mut patience), "that it had to wake up is no reason to give up");
    }

    /// Two sides that fell asleep, with a wake-up that takes as long as the longest look, are soon awake again.
    #[test]
    fn two_sides_that_fell_asleep_meet_again() {
        let (think, wake) = (us(20), us(45));
        let [mut client, mut server] = [(); 2].map(|()| Patience::new(Spin::Adaptive, MOST));
        // How long the one waits for the other, which begins to answer after `work`, and may have to be woken first.
        let exchange = |waits: &mut Patience, work: Duration, other_slept: bool| {
            let gap = work + if other_slept { wake } else { Duration::ZERO };
            let slept = match waits.look(other_slept) {
                Look::For(time) => time < gap,
                _ => true,
            };
            waits.learn(if slept { gap + wake } else { gap }, other_slept);
            slept
        };
        let (mut client_slept, mut server_slept) = (false, true);
        for _ in 0..20 {
            client_slept = exchange(&mut client, us(1), server_slept);
            server_slept = exchange(&mut server, think, client_slept);
        }
        assert!(!client_slept && !server_slept);
    }

    #[test]
    fn the_other_policies_do_as_they_are_told() {
        for (policy, look) in
            [(Spin::Never, Look::Never), (Spin::Once, Look::Once), (Spin::Always, Look::Always)]
        {
            let mut patience = Patience::new(policy, MOST);
            patience.learn(us(1), false);
            assert_eq!(patience.look(true), look);
        }
        assert_eq!(Patience::new(Spin::Adaptive, Duration::ZERO).look(true), Look::Never);
    }
}
