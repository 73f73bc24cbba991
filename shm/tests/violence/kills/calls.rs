//! Calls, and how they have ended.

use std::iter::Sum;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::CloseReason;
use linkpoll::net::{Address, Dialer};
use linkpoll::service::CallError;

use crate::bed::{PATIENCE, dial, payload, until};

/// Payloads of calls that are under way together.
const TOGETHER: [usize; 8] = [500, 1, 0, 5000, 500, 60_000, 500, 300_000];

/// Calls that were made, and how they have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) made: u64,
    pub(crate) replied: u64,
    pub(crate) failed: u64,
    /// When each that failed was made, and when its caller knew.
    pub(crate) failures: Vec<(Instant, Instant)>,
}

impl AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.replied += other.replied;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

impl Sum for Calls {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, calls| {
            sum += calls;
            sum
        })
    }
}

/// One connection from its beginning to its end: a call, then several at once, then it is closed. `None` when nobody
/// listens.
pub(crate) fn visit(dialer: &Dialer, address: &Address, kind: u64) -> Option<Calls> {
    let client = dial(dialer, address)?;
    let mut calls = Calls::default();
    for sizes in [&[100][..], &TOGETHER] {
        let requests = (0..).zip(sizes).map(|(nth, size)| payload(kind << 8 | nth, *size));
        let under_way: Vec<_> = requests
            .map(|request| (Instant::now(), client.call(Chain::from(Segment::copy_of(&request))), request))
            .collect();
        for (made, call, request) in under_way {
            calls.made += 1;
            match call.wait_for(PATIENCE) {
                Ok(mut reply) => {
                    assert_eq!(calls.failed, 0, "a reply behind one that is lost");
                    assert!(reply.len() == request.len());
                    assert!(reply.next(request.len()).expect("as many are there") == request);
                    calls.replied += 1;
                }
                Err(error) => {
                    assert!(is_typed(&error), "{error:?}");
                    if !error.is_unsent() {
                        calls.failures.push((made, Instant::now()));
                    }
                    calls.failed += 1;
                }
            }
        }
    }
    assert_eq!(client.calls(), 0, "calls that count as under way");
    client.close();
    until("it is closed", || !client.handle().is_active());
    Some(calls)
}

/// Whether this is how a call ends whose server is gone.
fn is_typed(error: &CallError) -> bool {
    match error {
        CallError::NotSent => true,
        CallError::Closed(why) => is_death(why),
        _ => false,
    }
}

/// Whether a connection may end so whose peer was killed.
pub(crate) fn is_death(why: &CloseReason) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    match why {
        CloseReason::PeerEnded => true,
        CloseReason::Broken(error) => matches!(error.kind(), ConnectionReset | BrokenPipe),
        _ => false,
    }
}

/// The median and the 99th percentile.
pub(crate) fn quantiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [50, 99].map(|percent| {
        times
            .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    })
}
