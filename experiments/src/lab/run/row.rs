//! Rows of the table: what the windows of one contestant come to.

use std::time::Duration;

use linkpoll_experiments::delays;
use serde::Serialize;

use super::measure::{Role, Window};
use super::statistics::{Summary, median, ratios};
use crate::control::Memory;
use crate::load::Shape;

/// What the windows of one contestant under one shape come to: medians over windows, and medians of ratios
/// within rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) transport: String,
    pub(crate) spin: &'static str,
    pub(crate) shape: Shape,
    pub(crate) windows: usize,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
    pub(crate) p99_9_ns: f64,
    pub(crate) server_cpu_ns_per_request: f64,
    pub(crate) syscalls_per_request: f64,
    /// Processor time of the server per request, against the floor of the same round; `None` for the floor.
    pub(crate) cpu_ratio: Option<Summary>,
    pub(crate) p99_ratio: Option<Summary>,
    /// The same two, and the next step of the tail, against the epoll transport that waits in the same way; `None` for
    /// that itself, and where it does not take part.
    pub(crate) cpu_to_epoll: Option<Summary>,
    pub(crate) p99_to_epoll: Option<Summary>,
    pub(crate) p99_9_to_epoll: Option<Summary>,
    /// Bytes sent per request that the kernel copied; `None` where that is not counted.
    pub(crate) copied_per_request: Option<f64>,
    /// Bytes sent per request that it sent from where they were.
    pub(crate) lent_per_request: Option<f64>,
    /// How long lent memory was away, over all windows: `None` where nothing was lent.
    pub(crate) release_p50_ns: Option<u64>,
    pub(crate) release_p99_ns: Option<u64>,
    /// The same two ratios of a second process of the floor: the noise of this machine.
    pub(crate) noise_cpu: Option<Summary>,
    pub(crate) noise_p99: Option<Summary>,
}

/// The rows of one stage, the floor first.
pub(crate) fn rows(windows: &[Window]) -> Vec<Row> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let measured = windows.iter().filter(|window| matches!(window.role, Role::Floor | Role::Transport));
    for window in measured.clone() {
        if !seen.contains(&(&window.name, window.spin)) {
            seen.push((&window.name, window.spin));
        }
    }
    let group = |(name, spin): (&str, &str)| -> Vec<&Window> {
        measured.clone().filter(|window| window.name == name && window.spin == spin).collect()
    };
    seen.into_iter().filter_map(|key| row(&group(key), windows)).collect()
}

fn row(own: &[&Window], all: &[Window]) -> Option<Row> {
    let first = own.first()?;
    let middle = |figure: fn(&Window) -> f64| median(own.iter().map(|window| figure(window)));
    let transports = (first.role == Role::Transport).then_some(own);
    let again: Vec<_> = all.iter().filter(|window| window.role == Role::Again).collect();
    let others = Some(own).filter(|_| first.name != EPOLL);
    let memory = memory(own);
    let requests: u64 = own.iter().map(|window| window.report.requests).sum();
    let per_request =
        |bytes: fn(&Memory) -> u64| Some(bytes(memory.as_ref()?) as f64 / requests.max(1) as f64);
    let release = |part| delays::quantile(&memory.as_ref()?.delays, part).map(nanoseconds);
    Some(Row {
        transport: first.name.clone(),
        spin: first.spin,
        shape: first.shape,
        windows: own.len(),
        requests_per_second: middle(|window| window.report.requests_per_second),
        p50_ns: middle(|window| window.report.p50_ns as f64),
        p99_ns: middle(p99),
        p99_9_ns: middle(p99_9),
        server_cpu_ns_per_request: middle(Window::cpu_per_request),
        syscalls_per_request: middle(Window::syscalls_per_request),
        cpu_ratio: transports.and_then(|own| against_floor(own, all, Window::cpu_per_request)),
        p99_ratio: transports.and_then(|own| against_floor(own, all, p99)),
        cpu_to_epoll: others.and_then(|own| against_epoll(own, all, Window::cpu_per_request)),
        p99_to_epoll: others.and_then(|own| against_epoll(own, all, p99)),
        p99_9_to_epoll: others.and_then(|own| against_epoll(own, all, p99_9)),
        copied_per_request: per_request(|memory| {
            memory.sent.saturating_sub(memory.lent.saturating_sub(memory.copied))
        }),
        lent_per_request: per_request(|memory| memory.lent.saturating_sub(memory.copied)),
        release_p50_ns: release(0.5),
        release_p99_ns: release(0.99),
        noise_cpu: against_floor(&again, all, Window::cpu_per_request),
        noise_p99: against_floor(&again, all, p99),
    })
}

fn p99(window: &Window) -> f64 {
    window.report.p99_ns as f64
}

fn p99_9(window: &Window) -> f64 {
    window.report.p99_9_ns as f64
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What all windows together have sent.
fn memory(windows: &[&Window]) -> Option<Memory> {
    windows.iter().filter_map(|window| window.memory.as_ref()).fold(None, |sum: Option<Memory>, memory| {
        let mut sum = sum.unwrap_or_default();
        sum.add(memory);
        Some(sum)
    })
}

/// Ratios of `own` windows to the floor's of the same round.
fn against_floor(own: &[&Window], all: &[Window], figure: fn(&Window) -> f64) -> Option<Summary> {
    let floor = |round| all.iter().find(|window| window.role == Role::Floor && window.round == round);
    ratios(own.iter().filter_map(|window| Some((figure(window), figure(floor(window.round)?)))))
}

/// The transport that others are compared with.
pub(super) const EPOLL: &str = "epoll";

/// Ratios of `own` windows to those of epoll in the same round, with the same way of waiting.
fn against_epoll(own: &[&Window], all: &[Window], figure: fn(&Window) -> f64) -> Option<Summary> {
    let epoll = |own: &Window| {
        all.iter().find(|window| {
            window.role == Role::Transport
                && window.name == EPOLL
                && window.round == own.round
                && window.spin == own.spin
        })
    };
    ratios(own.iter().filter_map(|window| Some((figure(window), figure(epoll(window)?)))))
}

/// The transport that sides on one host are compared with.
const UNIX: &str = "unix";

/// What shared memory costs against a Unix socket that waits in the same way: its name, its way of waiting, its shape,
/// and the ratios, within rounds, of the median latency and of the server's processor time per request.
pub(crate) fn against_unix(windows: &[Window]) -> Vec<(String, &'static str, Shape, Summary, Summary)> {
    let shared = windows.iter().filter(|window| window.name.starts_with("shm"));
    let mut found: Vec<(String, &'static str, Shape, Summary, Summary)> = Vec::new();
    for first in shared.clone() {
        let same = |other: &Window| other.spin == first.spin && other.shape == first.shape;
        if found.iter().any(|(name, spin, shape, ..)| {
            *name == first.name && *spin == first.spin && *shape == first.shape
        }) {
            continue;
        }
        let pairs = |figure: fn(&Window) -> f64| {
            let own = shared.clone().filter(|window| window.name == first.name && same(window));
            ratios(own.filter_map(|own| {
                let unix = |other: &&Window| other.name == UNIX && same(other) && other.round == own.round;
                Some((figure(own), figure(windows.iter().find(unix)?)))
            }))
        };
        let half = |window: &Window| window.report.p50_ns as f64;
        if let (Some(latency), Some(cpu)) = (pairs(half), pairs(Window::cpu_per_request)) {
            found.push((first.name.clone(), first.spin, first.shape, latency, cpu));
        }
    }
    found
}

/// What polling on both ends does to the median latency of each transport that was measured both ways: its name,
/// its shape, and the ratio within rounds.
pub(crate) fn adaptive_gains(windows: &[Window]) -> Vec<(String, Shape, Summary)> {
    let adaptive = windows.iter().filter(|window| window.spin == "adaptive");
    let mut gains: Vec<(String, Shape, Summary)> = Vec::new();
    for first in adaptive.clone() {
        if gains.iter().any(|(name, shape, _)| *name == first.name && *shape == first.shape) {
            continue;
        }
        let same = |window: &&Window| window.name == first.name && window.shape == first.shape;
        let pairs = adaptive.clone().filter(same).filter_map(|polling| {
            let asleep =
                windows.iter().filter(same).find(|w| w.spin == "never" && w.round == polling.round)?;
            Some((polling.report.p50_ns as f64, asleep.report.p50_ns as f64))
        });
        if let Some(summary) = ratios(pairs) {
            gains.push((first.name.clone(), first.shape, summary));
        }
    }
    gains
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;
    use crate::control::Syscalls;
    use crate::load::Report;

    fn window(name: &str, spin: &'static str, role: Role, round: usize, cpu: u64, latency: u64) -> Window {
        let mut latencies = Histogram::new(3).unwrap();
        latencies.record_n(latency, 10).unwrap();
        Window {
            name: name.into(),
            spin,
            role,
            shape: Shape { connections: 1, depth: 1, size: 0 },
            round,
            server_cpu_ns: cpu * 10,
            load_cpu_ns: 0,
            server_syscalls: Syscalls { wait: 10, receive: 10, send: 10, other: 0 },
            server_requests: None,
            memory: None,
            report: Report::new(&latencies, 0, Duration::from_secs(1), 0, None),
        }
    }

    #[test]
    fn rows_compare_with_the_floor_of_the_same_round() {
        let windows = [
            window("floor", "never", Role::Trial, 0, 1, 1),
            window("floor", "never", Role::Floor, 0, 100, 100),
            window("epoll", "never", Role::Transport, 0, 110, 90),
            window("floor", "never", Role::Again, 0, 101, 100),
            window("floor", "never", Role::Floor, 1, 200, 200),
            window("epoll", "never", Role::Transport, 1, 220, 180),
            window("floor", "never", Role::Again, 1, 202, 200),
        ];
        let rows = rows(&windows);
        assert_eq!(rows.iter().map(|row| row.transport.as_str()).collect::<Vec<_>>(), ["floor", "epoll"]);
        assert_eq!((rows[0].windows, rows[0].cpu_ratio), (2, None));
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-9;
        assert!(near(rows[1].cpu_ratio.unwrap().median, 1.1));
        assert!(near(rows[1].p99_ratio.unwrap().median, 0.9));
        assert!(near(rows[1].noise_cpu.unwrap().median, 1.01));
        assert!(near(rows[1].syscalls_per_request, 3.0));
    }

    #[test]
    fn rows_compare_with_epoll_that_waits_in_the_same_way() {
        let windows = [
            window("floor", "never", Role::Floor, 0, 50, 100),
            window("epoll", "never", Role::Transport, 0, 100, 100),
            window("epoll", "adaptive", Role::Transport, 0, 200, 50),
            window("uring", "adaptive", Role::Transport, 0, 100, 100),
            window("uring", "never", Role::Transport, 0, 90, 150),
        ];
        let rows = rows(&windows);
        let cpu: Vec<_> = rows.iter().map(|row| row.cpu_to_epoll.map(|ratio| ratio.median)).collect();
        assert_eq!(cpu, [Some(0.5), None, None, Some(0.5), Some(0.9)]);
        assert_eq!(rows[4].p99_to_epoll.unwrap().median, 1.5);
    }

    #[test]
    fn bytes_are_copied_or_lent() {
        let mut windows = [
            window("uring", "never", Role::Transport, 0, 1, 1),
            window("uring", "never", Role::Transport, 1, 1, 1),
        ];
        // Ten requests each: 100 bytes sent, of which 60 were lent, of which 20 were copied after all.
        for window in &mut windows {
            window.memory = Some(Memory { sent: 100, lent: 60, copied: 20, delays: vec![0, 0, 3] });
        }
        let row = &rows(&windows)[0];
        assert_eq!((row.copied_per_request, row.lent_per_request), (Some(6.0), Some(4.0)));
        assert_eq!((row.release_p50_ns, row.release_p99_ns), (Some(2), Some(2)));
    }

    #[test]
    fn shared_memory_is_compared_with_the_unix_socket_that_waits_in_the_same_way() {
        let windows = [
            window("unix", "never", Role::Transport, 0, 100, 100),
            window("unix", "adaptive", Role::Transport, 0, 300, 20),
            window("shm", "never", Role::Transport, 0, 90, 80),
            window("shm", "adaptive", Role::Transport, 0, 150, 2),
            window("epoll", "never", Role::Transport, 0, 1, 1),
        ];
        let found: Vec<_> = against_unix(&windows)
            .into_iter()
            .map(|(name, spin, _, latency, cpu)| (name, spin, latency.median, cpu.median))
            .collect();
        assert_eq!(found, [("shm".into(), "never", 0.8, 0.9), ("shm".into(), "adaptive", 0.1, 0.5)]);
        assert!(against_unix(&windows[2..]).is_empty());
    }

    #[test]
    fn polling_is_compared_with_sleeping_of_the_same_transport() {
        let windows = [
            window("floor", "never", Role::Floor, 0, 1, 500),
            window("epoll", "never", Role::Transport, 0, 1, 100),
            window("epoll", "adaptive", Role::Transport, 0, 1, 25),
        ];
        let gains = adaptive_gains(&windows);
        assert_eq!((gains.len(), gains[0].0.as_str(), gains[0].2.median), (1, "epoll", 0.25));
    }
}
