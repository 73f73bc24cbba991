//! Runs a model: every interleaving under loom, once on real threads in a plain test build.
//!
//! A plain `cargo test` therefore compiles every model and uses it as a smoke test; `cargo loom` explores it. An
//! exploration that is cut short is a failure, never a success: loom itself would end quietly at its limits.

/// How many times a thread may be preempted in one execution of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// No limit: every execution that loom can tell apart.
    Exhaustive,
    /// At most this many preemptions. What loom branches on beside preemptions (values read) stays exhaustive.
    Preemptions(usize),
}

/// Explores `body` under the claim `name`.
///
/// Prints one line with the bound and the number of executions.
///
/// # Panics
/// When the body panics in any execution, deadlocks, leaks a tracked value, takes longer than its time limit
/// (60 seconds, or `LINKPOLL_MODEL_SECONDS`), or has fewer than 100 executions, which is a sign of a model that
/// does not reach the state it is named for.
#[cfg(linkpoll_loom)]
#[expect(clippy::disallowed_types, reason = "the count of executions is outside of the model")]
pub fn model(name: &'static str, bound: Bound, body: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    const FEWEST_EXECUTIONS: u64 = 100;
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());

    let bound = match number("LINKPOLL_MODEL_BOUND") {
        Some(n) => Some(usize::try_from(n).expect("a bound is small")),
        None => match bound {
            Bound::Exhaustive => None,
            Bound::Preemptions(n) => Some(n),
        },
    };
    let limit = Duration::from_secs(number("LINKPOLL_MODEL_SECONDS").unwrap_or(60));
    let started = Instant::now();
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);

    super::ledger::begin();
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = bound;
    explorer.max_branches = 20_000;
    explorer.max_threads = 5;
    explorer.check(move || {
        // ORDERING: Relaxed: loom runs all threads of a model on this one.
        counted.fetch_add(1, Ordering::Relaxed);
        assert!(started.elapsed() < limit, "model {name}: not finished after {} s", limit.as_secs());
        body();
    });
    super::ledger::finish(name);

    let executions = executions.load(Ordering::Relaxed);
    let bound = bound.map_or("none".to_owned(), |n| n.to_string());
    eprintln!("model {name}: bound {bound}, executions {executions}, {} ms", started.elapsed().as_millis());
    assert!(
        executions >= FEWEST_EXECUTIONS
            || super::ledger::is_mutated()
            || number("LINKPOLL_MODEL_BOUND").is_some(),
        "model {name}: only {executions} executions"
    );
}

/// Runs `body` once on real threads; see the other build's documentation.
#[cfg(not(linkpoll_loom))]
pub fn model(_name: &'static str, _bound: Bound, body: impl Fn() + Send + Sync + 'static) {
    body();
}
