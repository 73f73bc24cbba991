//! What a load measured.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::stalled::StalledReport;

/// What a load measured. Every request counted here was answered, and every byte of its reply verified.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    /// Of those, the slow ones, which the latencies leave out.
    pub(crate) slow: u64,
    /// From the first request to the last reply.
    pub(crate) seconds: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p99_9_ns: u64,
    pub(crate) max_ns: u64,
    /// Always 0: the first error ends a load without a report.
    pub(crate) errors: u64,
    /// Bytes of the replies, length prefixes included.
    pub(crate) bytes: u64,
    /// The peers that never read, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stalled: Option<StalledReport>,
}

impl Report {
    pub(crate) fn new(
        latencies: &Histogram<u64>,
        slow: u64,
        elapsed: Duration,
        bytes: u64,
        stalled: Option<StalledReport>,
    ) -> Self {
        let (requests, seconds) = (latencies.len() + slow, elapsed.as_secs_f64());
        Self {
            requests,
            slow,
            seconds,
            requests_per_second: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
            p50_ns: latencies.value_at_quantile(0.5),
            p90_ns: latencies.value_at_quantile(0.9),
            p99_ns: latencies.value_at_quantile(0.99),
            p99_9_ns: latencies.value_at_quantile(0.999),
            max_ns: latencies.max(),
            errors: 0,
            bytes,
            stalled,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        writeln!(
            f,
            "requests   {} in {:.3} s, {:.0}/s",
            self.requests, self.seconds, self.requests_per_second
        )?;
        writeln!(
            f,
            "latency    p50 {:.1} us  p90 {:.1} us  p99 {:.1} us  p99.9 {:.1} us  max {:.1} us",
            us(self.p50_ns),
            us(self.p90_ns),
            us(self.p99_ns),
            us(self.p99_9_ns),
            us(self.max_ns)
        )?;
        write!(f, "errors     {}\nbytes      {}", self.errors, self.bytes)?;
        self.stalled.iter().try_for_each(|stalled| write!(f, "\n{stalled}"))
    }
}
