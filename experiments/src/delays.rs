//! A histogram of delays with one writer.
//!
//! Buckets are eight to each doubling, so a delay is known to within an eighth. A count is a [`Counter`]: its writer
//! never waits, and whoever reads sees each count at some recent moment.

use std::time::Duration;

use linkpoll::sync::Counter;

/// Buckets of a doubling, as a power of two.
const PARTS: u32 = 3;
/// Longer delays, from 18 minutes on, count as this one.
const LONGEST: u64 = (1 << 40) - 1;

/// Counts of delays. One thread records, anyone reads.
#[derive(Debug)]
pub struct Delays(Box<[Counter]>);

impl Default for Delays {
    fn default() -> Self {
        Self((0..=bucket(LONGEST)).map(|_| Counter::default()).collect())
    }
}

impl Delays {
    /// Counts a delay. To be called by the one writer only.
    pub fn record(&self, delay: Duration) {
        let nanoseconds = u64::try_from(delay.as_nanos()).unwrap_or(LONGEST);
        if let Some(count) = self.0.get(bucket(nanoseconds.min(LONGEST))) {
            count.add(1);
        }
    }

    /// The counts now, without the empty ones at the end. Two of them can be subtracted and added bucket by bucket.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let mut counts: Vec<u64> = self.0.iter().map(Counter::get).collect();
        counts.truncate(counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1));
        counts
    }
}

/// The delay that a part of all delays does not exceed, from [`Delays::counts`]: the upper end of its bucket. `None`
/// where nothing was counted.
#[must_use]
pub fn quantile(counts: &[u64], part: f64) -> Option<Duration> {
    let all: u64 = counts.iter().sum();
    let mut missing = ((all as f64 * part).ceil()).max(1.0);
    for (bucket, count) in counts.iter().enumerate() {
        missing -= *count as f64;
        if *count > 0 && missing <= 0.0 {
            return Some(Duration::from_nanos(end_of(bucket)));
        }
    }
    None
}

/// The bucket of so many nanoseconds.
fn bucket(nanoseconds: u64) -> usize {
    let parts = 1 << PARTS;
    if nanoseconds < parts {
        return usize::try_from(nanoseconds).unwrap_or(0);
    }
    let doubling = nanoseconds.ilog2();
    let part = (nanoseconds >> (doubling - PARTS)) % parts;
    usize::try_from(u64::from(doubling - PARTS + 1) * parts + part).unwrap_or(0)
}

/// The longest delay of a bucket.
fn end_of(bucket: usize) -> u64 {
    let (bucket, parts) = (bucket as u64, 1 << PARTS);
    if bucket < parts {
        return bucket;
    }
    ((parts + bucket % parts + 1) << (bucket / parts - 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for doubling in 0..40 {
            for step in [0, 1, 3, 5, 7] {
                let nanoseconds = (1_u64 << doubling) + (step << doubling) / 8;
                let number = bucket(nanoseconds);
                assert!(number >= last, "{nanoseconds}");
                last = number;
                let end = end_of(number);
                assert!(end >= nanoseconds && end <= nanoseconds + nanoseconds / 8, "{nanoseconds}: {end}");
                assert_eq!(bucket(end), number);
                assert_eq!(bucket(end + 1), number + 1);
            }
        }
        assert_eq!(bucket(LONGEST) + 1, Delays::default().0.len());
    }

    #[test]
    fn a_quantile_is_the_end_of_a_bucket() {
        let delays = Delays::default();
        assert_eq!(quantile(&delays.counts(), 0.5), None);
        (1..=98).for_each(|_| delays.record(Duration::from_nanos(5)));
        delays.record(Duration::from_micros(40));
        delays.record(Duration::MAX);
        let counts = delays.counts();
        assert_eq!(quantile(&counts, 0.0), Some(Duration::from_nanos(5)));
        assert_eq!(quantile(&counts, 0.98), Some(Duration::from_nanos(5)));
        let tail = quantile(&counts, 0.99).unwrap();
        assert!((40_000..=45_000).contains(&tail.as_nanos()), "{tail:?}");
        assert_eq!(quantile(&counts, 1.0), Some(Duration::from_nanos(LONGEST)));
        assert_eq!(counts.iter().sum::<u64>(), 100);
    }
}
