//! The steps that are calls of Cargo and little else: format, lints, documentation, tests, address sanitizer.

use std::path::Path;
use std::process::Command;

use crate::cargo::{self, LIMIT, cargo};
use crate::step::{Failure, Request, Result, Shell};
use crate::{loom, skips};

/// Formatting, also of the fuzz targets, which are a workspace of their own.
pub(crate) fn fmt(shell: &Shell, _: &Request) -> Result<String> {
    shell.run(cargo(&["fmt", "--all", "--check"]), LIMIT)?;
    if Path::new("fuzz/Cargo.toml").exists() {
        shell.run(cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]), LIMIT)?;
    }
    Ok("formatted".to_owned())
}

/// Lints as errors, in the four shapes in which the code is compiled.
pub(crate) fn clippy(shell: &Shell, _: &Request) -> Result<String> {
    let host = cargo::host(shell)?;
    let deny = ["--", "-D", "warnings"];
    let mut all = cargo(&["clippy", "--workspace", "--all-targets"]);
    all.args(deny);
    let mut bare = cargo(&["clippy", "-p", "linkpoll-experiments", "--all-targets", "--no-default-features"]);
    bare.args(deny);
    let mut modelled = cargo(&["clippy", "-p", "linkpoll", "--lib", "--tests"]);
    loom::configure(&mut modelled);
    modelled.args(deny);
    let mut faulty = cargo(&["clippy", "--lib", "--tests"]);
    faulty.args(SANITIZED);
    sanitize(&mut faulty, &host);
    faulty.args(deny);

    // All four, so that one run shows every warning.
    let results = [all, bare, modelled, faulty].map(|command| shell.run(command, LIMIT));
    let failures: Vec<String> =
        results.into_iter().filter_map(|result| result.err().map(|f| f.to_string())).collect();
    if failures.is_empty() { Ok("no warnings".to_owned()) } else { Err(Failure(failures.join("; "))) }
}

/// Documentation without a broken link.
pub(crate) fn doc(shell: &Shell, _: &Request) -> Result<String> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    let given = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    command.env("RUSTDOCFLAGS", format!("{given} -Dwarnings").trim_start());
    shell.run(command, LIMIT)?;
    Ok("no warnings".to_owned())
}

/// The quick tests of every package, and the documentation tests.
pub(crate) fn test(shell: &Shell, request: &Request) -> Result<String> {
    let mut command = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    command.args(&request.filters);
    skips::collect(&mut command);
    Ok(format!("{} tests", passed(&shell.run(command, LIMIT)?.output)))
}

/// The tests of the core and of shared memory with every memory access checked, and leaks reported. Fault injection is
/// built in: its tests are among them.
pub(crate) fn asan(shell: &Shell, request: &Request) -> Result<String> {
    let host = cargo::host(shell)?;
    // The examples are programs that a test runs; asked for tests alone, Cargo does not build them.
    let mut examples = cargo(&["build", "--examples"]);
    examples.args(SANITIZED);
    sanitize(&mut examples, &host);
    shell.run(examples, LIMIT)?;
    let mut command = cargo(&["test", "--lib", "--tests", "--no-fail-fast"]);
    command.args(SANITIZED);
    sanitize(&mut command, &host);
    command.env("ASAN_OPTIONS", "detect_leaks=1").args(&request.filters);
    // Memory that was freed is kept from use, so what a process takes says nothing after many kills.
    for (variable, value) in [(FAULT_SECONDS, "20"), (KILLS, "32"), (SOAK_SECONDS, "2")] {
        if std::env::var_os(variable).is_none() {
            command.env(variable, value);
        }
    }
    skips::collect(&mut command);
    Ok(format!("{} tests", passed(&shell.run(command, LIMIT)?.output)))
}

/// The packages that are tested under the address sanitizer: those with code that is not safe, less what is on trial.
const SANITIZED: [&str; 4] = ["-p", "linkpoll", "-p", "linkpoll-shm"];

/// How long faults by chance are tried.
const FAULT_SECONDS: &str = "LINKPOLL_FAULT_SECONDS";
/// How many processes are killed of each kind.
const KILLS: &str = "LINKPOLL_KILLS";
/// How long soaks of shared memory take.
const SOAK_SECONDS: &str = "LINKPOLL_SOAK_SECONDS";

/// The address sanitizer and fault injection, so that both cost one build. With a host named, no flag reaches build
/// scripts.
fn sanitize(command: &mut Command, host: &str) {
    command.args(["--target", host]);
    cargo::with_target_dir(command, "asan");
    cargo::with_rustflags(command, &["-Zsanitizer=address", "--cfg", "linkpoll_faults"]);
    cargo::with_unstable_flags(command);
    command.env("LINKPOLL_EXPECT_FAULTS", "1");
}

/// The number of tests that the test programs in this output say have passed.
pub(crate) fn passed(output: &str) -> u64 {
    output
        .lines()
        .filter_map(|line| {
            line.strip_prefix("test result: ")?
                .split_once(". ")?
                .1
                .split_once(" passed")?
                .0
                .parse::<u64>()
                .ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn passed_tests_are_summed() {
        let output = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored\n\ntest result: FAILED. 4 passed; 2 failed";
        assert_eq!(super::passed(output), 7);
    }
}
