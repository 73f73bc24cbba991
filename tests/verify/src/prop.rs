//! The property tests, with many more cases than `cargo test` spends on them.

use crate::cargo::{self, LIMIT, cargo};
use crate::checks::passed;
use crate::skips;
use crate::step::{Failure, Request, Result, Shell};

/// What property tests have in their path, and only they.
const FILTER: &str = "prop";

/// Runs every property test, or those that the filters name. Optimised, but with assertions and overflow checks:
/// they are what many properties rely on to notice a fault.
pub(crate) fn step(shell: &Shell, request: &Request) -> Result<String> {
    let cases = std::env::var("PROPTEST_CASES")
        .unwrap_or_else(|_| if request.short { "2000" } else { "20000" }.to_owned());
    let metadata = cargo::metadata(shell)?;
    let mut command = cargo(&["test", "--release", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    for package in metadata.packages.iter().filter(|p| p.dependencies.iter().any(|d| d.name == "proptest")) {
        command.args(["-p", &package.name]);
    }
    for setting in ["lto='off'", "codegen-units=16", "debug-assertions=true", "overflow-checks=true"] {
        command.arg("--config").arg(format!("profile.release.{setting}"));
    }
    cargo::with_target_dir(&mut command, "prop");
    command.env("PROPTEST_CASES", &cases);
    skips::collect(&mut command);
    if request.filters.is_empty() {
        command.arg(FILTER);
    } else {
        command.arg("--").args(&request.filters);
    }
    match passed(&shell.run(command, LIMIT)?.output) {
        0 => Err(Failure("no property test ran".to_owned())),
        properties => Ok(format!("{properties} properties with {cases} cases each")),
    }
}
