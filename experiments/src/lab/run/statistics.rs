//! Medians, and how far apart the runs were.

use serde::Serialize;

/// The middle of some figures and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Summary {
    /// `None` where there are no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        if sorted.is_empty() {
            return None;
        }
        Some(Self {
            lower: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            upper: quantile(&sorted, 0.75),
        })
    }
}

/// The median; 0 where there are no figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    Summary::of(figures).map_or(0.0, |summary| summary.median)
}

/// Ratios within pairs, so that what slows both halves of a pair cancels out. Pairs whose base is 0 say nothing.
pub(crate) fn ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Summary> {
    Summary::of(pairs.into_iter().filter(|(_, base)| *base > 0.0).map(|(value, base)| value / base))
}

/// Between the two nearest figures, linearly.
#[expect(clippy::cast_possible_truncation, reason = "an index into a short list")]
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let position = at * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([3.0]), Some(Summary { lower: 3.0, median: 3.0, upper: 3.0 }));
        assert_eq!(
            Summary::of([5.0, 1.0, 2.0, 4.0, 3.0]),
            Some(Summary { lower: 2.0, median: 3.0, upper: 4.0 })
        );
        assert!((median([1.0, 2.0]) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn a_ratio_is_taken_within_its_pair() {
        // Both halves of the second pair were slowed tenfold; the ratio of the medians would be 5.5.
        let summary = ratios([(2.0, 1.0), (20.0, 10.0), (2.0, 1.0)]).unwrap();
        assert_eq!(summary.median, 2.0);
        assert_eq!(ratios([(1.0, 0.0)]), None);
    }
}
