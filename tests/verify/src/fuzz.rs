//! Builds every fuzz target with coverage and the address sanitizer, and runs it for some seconds.
//!
//! This is what `cargo fuzz` does, with nothing to install: libFuzzer's runtime comes with the crate
//! `libfuzzer-sys`, which needs a C++ compiler.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cargo::{self, LIMIT, cargo};
use crate::parallel;
use crate::process::{self, Finished};
use crate::step::{Context as _, Failure, Request, Result, Shell};

const FLAGS: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];
const DEFAULT_SECONDS: u64 = 30;

/// Builds and runs the targets whose names the filters admit.
pub(crate) fn step(shell: &Shell, request: &Request) -> Result<String> {
    let names: Vec<String> =
        targets(Path::new("fuzz/fuzz_targets"))?.into_iter().filter(|n| request.admits(n)).collect();
    if names.is_empty() {
        return Err(Failure("no fuzz target in fuzz/fuzz_targets".to_owned()));
    }
    let seconds = match std::env::var("LINKPOLL_FUZZ_SECONDS") {
        Ok(text) => text.parse().context("LINKPOLL_FUZZ_SECONDS")?,
        Err(_) => DEFAULT_SECONDS,
    };
    let programs = build(shell)?;
    let results = parallel::map(&names, |name| fuzz(shell, &programs, name, seconds));
    let mut counts = Vec::new();
    let mut failures = Vec::new();
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(executions) => counts.push(format!("{name} {executions}")),
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    if failures.is_empty() {
        Ok(format!("executions: {}", counts.join(", ")))
    } else {
        Err(Failure(failures.join("; ")))
    }
}

/// The targets are the files; what the manifest does not build is found out when it cannot be run.
fn targets(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).context(directory.display())? {
        let path = entry.context(directory.display())?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets and answers the directory of the programs.
fn build(shell: &Shell) -> Result<PathBuf> {
    require_cxx()?;
    let host = cargo::host(shell)?;
    let mut command =
        cargo(&["build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    cargo::with_target_dir(&mut command, "fuzz");
    cargo::with_rustflags(&mut command, FLAGS);
    cargo::with_unstable_flags(&mut command);
    if cargo::has_warnings(&shell.run(command, LIMIT)?.output) {
        return Err(Failure("the fuzz targets compile with warnings".to_owned()));
    }
    Ok(cargo::scratch("fuzz").join(host).join("release"))
}

fn require_cxx() -> Result<()> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let status =
        Command::new(&compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let name = compiler.display();
    Err(Failure(format!("libFuzzer needs a C++ compiler, and `{name}` does not run: install g++ or set CXX")))
}

/// Runs one target and answers how many inputs it executed.
fn fuzz(shell: &Shell, programs: &Path, name: &str, seconds: u64) -> Result<u64> {
    let found = cargo::scratch("fuzz").join("corpus").join(name);
    let artifacts = cargo::scratch("fuzz").join("artifacts").join(name);
    for directory in [&found, &artifacts] {
        fs::create_dir_all(directory).context(directory.display())?;
    }
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(artifacts.join(""));
    let mut command = Command::new(programs.join(name));
    // libFuzzer writes what it finds to the first directory and only reads the others.
    command.arg(found);
    let seeds = Path::new("fuzz/corpus").join(name);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(prefix);

    let text = process::describe(&command);
    let finished = process::run(command, Duration::from_secs(seconds + 120), |_| ()).context(&text)?;
    shell.detail(&format!("$ {text}"));
    finished.output.lines().for_each(|line| shell.detail(&format!("{name}: {line}")));
    verdict(&finished)
}

fn verdict(finished: &Finished) -> Result<u64> {
    if let Some(complaint) = finished.complaint() {
        let mark = |line: &&str| line.contains("ERROR: ") || line.contains("panicked at");
        let cause = finished.output.lines().find(mark).unwrap_or_default();
        return Err(Failure(format!("{complaint} {cause}")));
    }
    match executions(&finished.output) {
        Some(executions) if executions > 0 => Ok(executions),
        _ => Err(Failure("no input was executed".to_owned())),
    }
}

fn executions(output: &str) -> Option<u64> {
    let count = output.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn executions_are_read_from_the_final_statistics() {
        let output = "Done 5 runs in 1 second(s)\nstat::number_of_executed_units: 123456\nstat::average_exec_per_sec: 3\n";
        assert_eq!(super::executions(output), Some(123_456));
        assert_eq!(super::executions("nothing"), None);
    }
}
