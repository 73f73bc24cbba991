//! What `lab run` measures, and for how long.

use std::time::Duration;

use crate::cli::{Side, Transport};
use crate::load::Shape;

/// A quick run spends this long in windows, whatever takes part; starting servers and connecting comes on top.
const QUICK_BUDGET: Duration = Duration::from_secs(14);
/// A full one.
const FULL_BUDGET: Duration = Duration::from_secs(425);

/// One shape of traffic, and how often it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) shape: Shape,
    /// Rounds in which everything is measured once, next to the floor.
    pub(crate) pairs: usize,
    /// Whether polling on both ends is measured too. Sides that reach no further than this host are always measured
    /// both ways: that is what they are for.
    pub(crate) adaptive: bool,
    /// Who takes part.
    pub(crate) field: Field,
}

/// Who takes part in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Everybody.
    All,
    /// Whatever reaches other hosts.
    Far,
    /// Transports that reach other hosts.
    Transports,
    /// What reaches no further than this host, and epoll over TCP beside it.
    OneHost,
}

/// Everything a run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) stages: Vec<Stage>,
    /// Rounds that decide which variant of the floor is the faster one.
    pub(crate) trials: usize,
    pub(crate) warmup: Duration,
    pub(crate) window: Duration,
}

impl Plan {
    /// Eight minutes with everything that can take part, less with less: windows are at most a second.
    pub(crate) fn full(sides: &[Side]) -> Self {
        Self::within(FULL_BUDGET, stages(6, 16), 3, sides)
    }

    /// Under 20 seconds.
    pub(crate) fn quick(sides: &[Side]) -> Self {
        let mut stages = stages(2, 3);
        // One large size says whether it works.
        stages.retain(|stage| stage.shape.size == SMALL || stage.shape == LARGE);
        Self::within(QUICK_BUDGET, stages, 1, sides)
    }

    /// These shapes, each as often as a tail needs.
    pub(crate) fn of(shapes: &[Shape], sides: &[Side]) -> Self {
        let stage = |shape: &Shape| Stage {
            shape: *shape,
            pairs: 16,
            adaptive: shape.connections == 1,
            field: Field::All,
        };
        Self::within(FULL_BUDGET, shapes.iter().map(stage).collect(), 3, sides)
    }

    /// Divides the time among all windows.
    fn within(budget: Duration, stages: Vec<Stage>, trials: usize, sides: &[Side]) -> Self {
        let quick = budget == QUICK_BUDGET;
        let warmup = Duration::from_millis(if quick { 50 } else { 100 });
        let (least, most) = if quick { (50, 300) } else { (200, 1000) };
        let mut plan = Self { stages, trials, warmup, window: Duration::ZERO };
        let windows = u32::try_from(plan.windows(sides)).unwrap_or(u32::MAX).max(1);
        let share = (budget / windows).saturating_sub(warmup);
        plan.window = share.clamp(Duration::from_millis(least), Duration::from_millis(most));
        plan
    }

    /// Windows of the whole run.
    pub(crate) fn windows(&self, sides: &[Side]) -> usize {
        self.stages.iter().map(|stage| 2 * self.trials + stage.pairs * stage.width(sides)).sum()
    }
}

impl Stage {
    /// Those of the sides that take part.
    pub(crate) fn takes(&self, sides: &[Side]) -> Vec<Side> {
        let takes = |side: &&Side| match self.field {
            Field::All => true,
            Field::Far => !side.is_on_one_host(),
            Field::Transports => matches!(side, Side::Transport(_)),
            Field::OneHost => side.is_on_one_host() || **side == Side::Transport(Transport::Epoll),
        };
        sides.iter().filter(takes).copied().collect()
    }

    /// How a side is measured: polling, or not.
    pub(crate) fn waits(&self, side: Side) -> &'static [bool] {
        if self.adaptive || side.is_on_one_host() { &[false, true] } else { &[false] }
    }

    /// Windows of a round: two of the floor, and each side once per way of waiting.
    pub(crate) fn width(&self, sides: &[Side]) -> usize {
        2 + self.takes(sides).into_iter().map(|side| self.waits(side).len()).sum::<usize>()
    }
}

/// The size of a usual request.
const SMALL: usize = 1 << 10;
/// Large requests, one at a time on each connection.
const LARGE: Shape = Shape { connections: 16, depth: 1, size: 256 << 10 };

/// How often what reaches no further than this host is measured with further sizes.
const NEAR_PAIRS: usize = 4;

/// One shape for each claim: latency of a single caller, many requests at once, many connections, what size does on one
/// host, and beyond it.
fn stages(pairs: usize, latency_pairs: usize) -> Vec<Stage> {
    let small = |connections, depth, pairs, adaptive, field| {
        let shape = Shape { connections, depth, size: SMALL };
        Stage { shape, pairs, adaptive, field }
    };
    let large = |shape| Stage { shape, pairs, adaptive: false, field: Field::Transports };
    let near = |size| {
        let shape = Shape { connections: 1, depth: 1, size };
        Stage { shape, pairs: NEAR_PAIRS, adaptive: true, field: Field::OneHost }
    };
    vec![
        small(1, 1, pairs, true, Field::All),
        small(16, 16, pairs, false, Field::All),
        small(100, 1, latency_pairs, false, Field::All),
        small(1000, 1, pairs, false, Field::Far),
        near(64),
        near(64 << 10),
        near(1 << 20),
        large(Shape { connections: 100, depth: 1, size: 16 << 10 }),
        large(Shape { connections: 1, depth: 1, size: 256 << 10 }),
        large(LARGE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sides, one by one.
    fn growing() -> impl Iterator<Item = Vec<Side>> {
        let all = Side::all();
        (0..=all.len()).map(move |sides| all[..sides].to_vec())
    }

    #[test]
    fn a_run_keeps_its_budget() {
        for sides in growing() {
            for (plan, limit) in [(Plan::quick(&sides), 16), (Plan::full(&sides), 450)] {
                let windows = u32::try_from(plan.windows(&sides)).unwrap();
                let all = (plan.warmup + plan.window) * windows;
                assert!(all <= Duration::from_secs(limit), "{} sides: {all:?}", sides.len());
            }
        }
    }

    #[test]
    fn a_full_run_has_enough_pairs_for_a_tail() {
        let plan = Plan::full(&Side::all());
        let hundred = plan.stages.iter().find(|stage| stage.shape.connections == 100).unwrap();
        assert!(hundred.pairs >= 15);
        assert!(plan.window >= Duration::from_millis(400), "{:?}", plan.window);
    }

    #[test]
    fn what_stays_on_one_host_is_measured_both_ways_and_beside_tcp() {
        let plan = Plan::full(&Side::all());
        let near: Vec<_> = plan.stages.iter().filter(|stage| stage.field == Field::OneHost).collect();
        assert_eq!(near.len(), 3);
        for stage in near {
            let takes = stage.takes(&Side::all());
            assert!(takes.contains(&Side::Transport(Transport::Epoll)) && takes.contains(&Side::Unix));
            assert_eq!(stage.width(&Side::all()), 2 + 2 * takes.len());
        }
        let many = &plan.stages[1];
        assert!(!many.adaptive && many.waits(Side::Unix).len() == 2);
        // What is left out elsewhere has its reason: nobody has a thousand processes, and copies are another matter.
        assert!(plan.stages.iter().all(|stage| stage.shape.connections < 1000 || stage.field == Field::Far));
    }

    #[test]
    fn large_messages_are_measured_with_transports_only() {
        let plan = Plan::full(&Side::all());
        let sides = |stage: &Stage| stage.takes(&Side::all()).len();
        let (small, large) = (&plan.stages[0], plan.stages.last().unwrap());
        assert_eq!(sides(small), Side::all().len());
        assert!(sides(large) < sides(small) && large.shape.size > small.shape.size);
    }
}
