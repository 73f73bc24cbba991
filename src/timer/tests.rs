//! The wheel against a map in the order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{LOOKED_AT, Wheel};

/// What is done to a wheel. Moments are nanoseconds since its start.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arm(u32, When),
    ArmBy(u32, When),
    Disarm(u32),
    /// Time goes on, and all timers that are due are taken; or only so many.
    Advance(When),
    AdvanceAndTake(When, usize),
    /// To just before, or right to, the moment that the wheel asks to be looked at.
    AdvanceToNext(bool),
}

/// A moment, by what is near to it.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So long after now.
    In(u64),
    /// So long before now.
    Ago(u64),
    /// So far before or behind the next multiple of a power of two.
    AtBorder(u32, i64),
    /// Anywhere at all.
    Anywhere(u64),
}

impl When {
    fn from(self, now: u64) -> u64 {
        match self {
            Self::In(length) => now.saturating_add(length),
            Self::Ago(length) => now.saturating_sub(length),
            Self::AtBorder(power, off) => {
                let border = (now >> power).saturating_add(1).checked_shl(power).unwrap_or(u64::MAX);
                let border = if border >> power == 0 { u64::MAX } else { border };
                border.saturating_add_signed(off)
            }
            Self::Anywhere(at) => at,
        }
    }
}

fn when() -> impl Strategy<Value = When> {
    let lengths = || prop_oneof![0..=3_u64, 0..=5000_u64, 0..=100_000_000_000_u64];
    prop_oneof![
        6 => lengths().prop_map(When::In),
        1 => lengths().prop_map(When::Ago),
        4 => (0..64_u32, -2..=2_i64).prop_map(|(power, off)| When::AtBorder(power, off)),
        1 => prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)].prop_map(When::Anywhere),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    // Few slots, so that timers are armed anew and meet in one bucket.
    let slot = || prop_oneof![4 => 0..40_u32, 1 => 0..3000_u32];
    prop_oneof![
        8 => (slot(), when()).prop_map(|(slot, at)| Step::Arm(slot, at)),
        3 => (slot(), when()).prop_map(|(slot, at)| Step::ArmBy(slot, at)),
        2 => slot().prop_map(Step::Disarm),
        3 => when().prop_map(Step::Advance),
        1 => (when(), 1..4_usize).prop_map(|(at, most)| Step::AdvanceAndTake(at, most)),
        3 => any::<bool>().prop_map(Step::AdvanceToNext),
    ]
}

/// The wheel, and what it ought to do.
struct Both {
    start: Instant,
    wheel: Wheel,
    /// Deadlines by slot, and the time.
    expected: BTreeMap<u32, u64>,
    now: u64,
}

impl Both {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, wheel: Wheel::new(start), expected: BTreeMap::new(), now: 0 }
    }

    fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_nanos(at)
    }

    fn first(&self) -> Option<u64> {
        self.expected.values().min().copied()
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Arm(slot, when) => {
                let at = when.from(self.now);
                self.wheel.arm(slot, self.instant(at));
                self.expected.insert(slot, at);
            }
            Step::ArmBy(slot, when) => {
                let at = when.from(self.now);
                self.wheel.arm_by(slot, self.instant(at));
                self.expected.entry(slot).and_modify(|armed| *armed = at.min(*armed)).or_insert(at);
            }
            Step::Disarm(slot) => {
                assert_eq!(self.wheel.disarm(slot), self.expected.remove(&slot).is_some());
            }
            Step::Advance(when) => self.advance(when.from(self.now), usize::MAX),
            Step::AdvanceAndTake(when, most) => self.advance(when.from(self.now), most),
            Step::AdvanceToNext(just_before) => {
                if let Some(next) = self.wheel.next() {
                    let next = u64::try_from((next - self.start).as_nanos()).expect("it was armed so");
                    self.advance(next - u64::from(just_before).min(next), usize::MAX);
                }
            }
        }
        self.check();
    }

    /// Time stands still when it would go back.
    fn advance(&mut self, to: u64, most: usize) {
        self.now = self.now.max(to);
        let told = self.instant(self.now);
        let due = self.expected.iter().filter(|(_, at)| **at <= self.now).map(|(slot, _)| *slot);
        let mut due: BTreeSet<u32> = due.collect();
        for _ in 0..most.min(due.len()) {
            let slot = self.wheel.expired(told).expect("one more is due");
            assert!(due.remove(&slot), "{slot} is not due, or was taken before");
            self.expected.remove(&slot);
        }
        if due.is_empty() {
            assert_eq!(self.wheel.expired(told), None, "nothing more is due");
        }
    }

    fn check(&self) {
        assert_eq!(
            (self.wheel.len(), self.wheel.is_empty()),
            (self.expected.len(), self.expected.is_empty())
        );
        let next = self.wheel.next().map(|at| (at - self.start).as_nanos());
        let first = self.first().map(u128::from);
        assert_eq!(next.is_some(), first.is_some());
        assert!(next <= first.max(Some(self.now.into())), "{next:?} is later than {first:?}");
        if self.expected.len() <= LOOKED_AT {
            assert_eq!(next, first, "few timers are looked at one by one");
        }
        for (slot, at) in &self.expected {
            assert_eq!(self.wheel.deadline(*slot), Some(self.instant(*at)));
        }
    }
}

mod prop {
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    /// What has failed once is tried first.
    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/timer_wheel.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        /// T-1: each timer comes up once, when it is due and not before, and the wheel never asks to be looked at
        /// too late.
        #[test]
        fn a_wheel_is_a_map_in_the_order_of_time(steps in vec(step(), 0..120)) {
            let mut both = Both::new();
            steps.into_iter().for_each(|step| both.play(step));
            both.advance(u64::MAX, usize::MAX);
            both.check();
        }
    }
}

/// Timers of one bucket come up at their own moments, although the bucket has more than are looked at one by one.
#[test]
fn many_timers_near_to_each_other_come_up_in_order() {
    let mut both = Both::new();
    for slot in 0..1000 {
        both.play(Step::Arm(slot, When::In(1_000_000_000 + u64::from(slot * 7919 % 1000) * 1000)));
    }
    let mut looks = 0;
    while !both.expected.is_empty() {
        both.play(Step::AdvanceToNext(false));
        looks += 1;
    }
    assert!(looks < 1100, "{looks} looks for 1000 timers");
}

/// T-2: arming again and again, and going on in time, allocates nothing.
#[test]
fn a_wheel_grows_only_with_its_highest_slot() {
    let mut both = Both::new();
    both.wheel.arm(5000, both.start);
    let room = both.wheel.nodes.capacity();
    for round in 0..20_u64 {
        for slot in 0..5000 {
            both.wheel.arm(slot, both.instant(round * 1000 + u64::from(slot) * 977 % 100_000));
        }
        while both.wheel.expired(both.instant(round * 1000)).is_some() {}
    }
    assert_eq!(both.wheel.nodes.capacity(), room);
    assert_eq!(size_of::<super::Node>(), 16);
}

/// A moment before the start is over at once, and one beyond the end of the count is not before it.
#[test]
fn moments_outside_of_the_count_are_cut() {
    let start = Instant::now() + Duration::from_secs(10);
    let mut wheel = Wheel::new(start);
    wheel.arm(1, start - Duration::from_secs(5));
    wheel.arm(2, start + Duration::from_secs(1 << 40));
    assert_eq!(wheel.expired(start - Duration::from_secs(9)), Some(1));
    assert_eq!(wheel.expired(start + Duration::from_secs(1 << 30)), None);
    // Time does not go back: this one is due, whatever the clock says now.
    wheel.arm(3, start + Duration::from_secs(1 << 29));
    assert_eq!(wheel.expired(start), Some(3));
    assert_eq!(wheel.expired(start + Duration::from_secs(1 << 41)), Some(2));
    assert!(wheel.next().is_none() && !wheel.disarm(2) && !wheel.disarm(u32::MAX));
}

#[test]
#[should_panic(expected = "no timer for slot")]
fn a_slot_beyond_the_count_is_refused() {
    Wheel::new(Instant::now()).arm(u32::MAX - 3, Instant::now());
}
