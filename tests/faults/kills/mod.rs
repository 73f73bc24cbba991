//! Processes that are killed under load, as `kill -9` does it: servers, and clients of a server.
//!
//! A victim is this test program again, running one of the tests in `victims.rs`. It is killed in one of two ways:
//!
//! * **By order**: it kills itself when it comes to a step for the n-th time. So every step is hit.
//! * **By chance**: its killer waits for a random time. The victim has written the step that it was in to a file.

mod callers;
mod clients;
mod servers;
mod victim;
mod victims;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter::Sum;
use std::ops::AddAssign;
use std::path::Path;

/// How often each step is hit by order.
const BY_ORDER: u64 = 10;
/// How many processes of each kind are killed by chance.
const BY_CHANCE: u64 = 100;

/// How often a victim was killed in each step.
#[derive(Debug, Default)]
struct Hits(BTreeMap<String, [u64; 2]>);

impl Hits {
    fn by_order(&mut self, step: &str) {
        self.0.entry(step.to_owned()).or_default()[0] += 1;
    }

    fn by_chance(&mut self, step: &str) {
        self.0.entry(step.to_owned()).or_default()[1] += 1;
    }

    /// Writes a table to standard error and to a file of the target directory.
    fn report(&self, file: &str) {
        let mut table = String::from("| step | by order | by chance |\n|---|---:|---:|\n");
        for (step, [ordered, chanced]) in &self.0 {
            writeln!(table, "| {step} | {ordered} | {chanced} |").expect("memory");
        }
        eprintln!("{table}");
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(file), &table)
            .expect("a file in the target directory");
    }

    fn total_by_chance(&self) -> u64 {
        self.0.values().map(|[_, chanced]| chanced).sum()
    }
}

/// Calls that were made, and how they have ended.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    made: u64,
    replied: u64,
    failed: u64,
}

impl AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.replied += other.replied;
        self.failed += other.failed;
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
