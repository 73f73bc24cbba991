//! What `lab run` measures, and for how long.

use std::time::Duration;

use crate::load::Shape;

/// A quick run spends this long in windows, whatever takes part; starting servers and connecting comes on top.
const QUICK_BUDGET: Duration = Duration::from_secs(14);

/// One shape of traffic, and how often it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) shape: Shape,
    /// Rounds in which everything is measured once, next to the floor.
    pub(crate) pairs: usize,
    /// Whether polling on both ends is measured too.
    pub(crate) adaptive: bool,
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
    /// About three minutes with one transport.
    pub(crate) fn full() -> Self {
        Self {
            stages: stages(8, 16),
            trials: 3,
            warmup: Duration::from_millis(150),
            window: Duration::from_secs(1),
        }
    }

    /// Under 20 seconds: the windows shrink as `transports` are added.
    pub(crate) fn quick(transports: usize) -> Self {
        let warmup = Duration::from_millis(60);
        let mut plan = Self { stages: stages(2, 3), trials: 1, warmup, window: Duration::ZERO };
        let windows = u32::try_from(plan.windows(transports)).unwrap_or(u32::MAX);
        let share = (QUICK_BUDGET / windows).saturating_sub(warmup);
        plan.window = share.clamp(Duration::from_millis(50), Duration::from_millis(300));
        plan
    }

    /// Windows of the whole run.
    pub(crate) fn windows(&self, transports: usize) -> usize {
        self.stages.iter().map(|stage| 2 * self.trials + stage.pairs * stage.width(transports)).sum()
    }
}

impl Stage {
    /// Windows of a round: two of the floor, and each transport once per way of waiting.
    pub(crate) fn width(&self, transports: usize) -> usize {
        2 + transports * if self.adaptive { 2 } else { 1 }
    }
}

/// One shape for each claim: latency of a single caller, many requests at once, and many connections.
fn stages(pairs: usize, latency_pairs: usize) -> Vec<Stage> {
    let stage = |connections, depth, pairs, adaptive| {
        let shape = Shape { connections, depth, size: 1024 };
        Stage { shape, pairs, adaptive }
    };
    vec![
        stage(1, 1, pairs, true),
        stage(16, 16, pairs, false),
        stage(100, 1, latency_pairs, false),
        stage(1000, 1, pairs, false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_keeps_its_budget() {
        for transports in 0..=4 {
            let plan = Plan::quick(transports);
            let windows = u32::try_from(plan.windows(transports)).unwrap();
            assert!((plan.warmup + plan.window) * windows <= Duration::from_secs(16), "{transports}");
        }
    }

    #[test]
    fn a_full_run_has_enough_pairs_for_a_tail() {
        let plan = Plan::full();
        let hundred = plan.stages.iter().find(|stage| stage.shape.connections == 100).unwrap();
        assert!(hundred.pairs >= 15);
    }
}
