//! `lab serve --stats`: what a server has counted, again and again.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use linkpoll::net::Usage;
use linkpoll::service::Dispatch;

/// Prints what was counted since the time before, once every `interval`: a line for each loop, each listener and the
/// pool. Ends when nobody reads it any more.
pub(crate) fn print(interval: Duration, usage: &[Usage], dispatch: Option<&Dispatch>) {
    let pool = match dispatch {
        Some(Dispatch::Pool(pool)) => Some(pool),
        _ => None,
    };
    let loops = || usage.iter().map(|usage| usage.metrics.snapshot()).collect::<Vec<_>>();
    let listeners =
        || usage.iter().flat_map(|usage| &usage.listeners).map(|it| it.snapshot()).collect::<Vec<_>>();
    let (mut loops_before, mut listeners_before) = (loops(), listeners());
    let mut pool_before = pool.map(|pool| pool.metrics());
    loop {
        thread::sleep(interval);
        let (loops_now, listeners_now) = (loops(), listeners());
        let mut lines = String::new();
        for (number, (now, before)) in loops_now.iter().zip(&loops_before).enumerate() {
            lines += &format!("loop {number}: {} connections; {}\n", now.connections(), now.since(before));
        }
        for (number, (now, before)) in listeners_now.iter().zip(&listeners_before).enumerate() {
            lines += &format!("listener {number}: {}\n", now.since(before));
        }
        let pool_now = pool.map(|pool| pool.metrics());
        if let (Some(now), Some(before)) = (&pool_now, &pool_before) {
            lines += &format!("pool: {}\n", now.since(before));
        }
        if io::stdout().lock().write_all(lines.as_bytes()).is_err() {
            return;
        }
        (loops_before, listeners_before, pool_before) = (loops_now, listeners_now, pool_now);
    }
}
