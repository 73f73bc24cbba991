//! The models: how they are built, found and run, and the step that runs them all.
//!
//! A model is a test of one of the [`PACKAGES`] whose path contains `::models::`. Each runs in a process of its own, so
//! that one that hangs or dies takes no other with it.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::cargo::{self, LIMIT, cargo};
use crate::parallel;
use crate::process::{self, Finished};
use crate::step::{Context as _, Failure, Request, Result, Shell};

/// A net under the time limit that every model has for itself.
const PROCESS_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Fewer executions mean that the model does not reach what it is about.
const FEWEST_EXECUTIONS: u64 = 100;

/// The packages with models: the name of each, the directory of its sources, and what stands in front of its models' names.
pub(crate) const PACKAGES: [(&str, &str, &str); 2] =
    [("linkpoll", "src", ""), ("linkpoll-shm", "shm/src", "shm::")];

/// Turns the models on for a call of Cargo. The second variable makes the core refuse to compile without them.
pub(crate) fn configure(command: &mut Command) {
    cargo::with_target_dir(command, "loom");
    command.args(["--profile", "loom"]);
    cargo::with_rustflags(command, &["--cfg", "linkpoll_loom"]);
    command.env("LINKPOLL_EXPECT_LOOM", "1");
}

/// The test programs with their models.
#[derive(Debug)]
pub(crate) struct Models {
    /// In the order of [`PACKAGES`].
    programs: Vec<PathBuf>,
}

/// A test that is a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// Which of the programs has it.
    program: usize,
    /// Its path in its package.
    test: String,
}

impl fmt::Display for Model {
    /// The path, with that of the package in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", PACKAGES[self.program].2, self.test)
    }
}

/// The lines of Cargo's JSON output that matter here.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    profile: Profile,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Models {
    /// Compiles the models.
    ///
    /// # Errors
    /// When they do not compile.
    pub(crate) fn build(shell: &Shell) -> Result<Self> {
        let mut command = cargo(&["test", "--lib", "--no-run"]);
        PACKAGES.iter().for_each(|(package, _, _)| {
            command.args(["-p", package]);
        });
        command.arg("--message-format=json-render-diagnostics");
        configure(&mut command);
        let output = shell.run(command, LIMIT)?.output;
        let artifacts = output.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
        let tests: Vec<Artifact> = artifacts.filter(|a| a.profile.test).collect();
        let program = |(package, _, _): &(&str, &str, &str)| {
            let library = package.replace('-', "_");
            let program = tests.iter().find(|a| a.target.name == library).and_then(|a| a.executable.clone());
            program.ok_or_else(|| Failure(format!("Cargo names no test program for the models of {package}")))
        };
        Ok(Self { programs: PACKAGES.iter().map(program).collect::<Result<_>>()? })
    }

    /// The tests that are models, but not those marked `#[ignore]`.
    ///
    /// # Errors
    /// When a program cannot list its tests, or there is no model.
    pub(crate) fn list(&self, shell: &Shell) -> Result<Vec<Model>> {
        let mut models = Vec::new();
        for program in 0..self.programs.len() {
            models.extend(self.list_one(shell, program)?.into_iter().map(|test| Model { program, test }));
        }
        if models.is_empty() { Err(Failure("there is no model".to_owned())) } else { Ok(models) }
    }

    fn list_one(&self, shell: &Shell, program: usize) -> Result<Vec<String>> {
        let listing = |words: &[&str]| -> Result<Vec<String>> {
            let mut command = Command::new(&self.programs[program]);
            command.args(["--list", "--format", "terse"]).args(words);
            let output = process::run(command, LIMIT, |_| ()).context("listing the models")?.output;
            Ok(output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
        };
        let ignored = listing(&["--ignored"])?;
        let (models, resting): (Vec<_>, Vec<_>) = listing(&[])?
            .into_iter()
            .filter(|test| test.contains("::models::"))
            .partition(|t| !ignored.contains(t));
        resting
            .iter()
            .for_each(|test| shell.say(&format!("model {test} is marked #[ignore] and does not run")));
        Ok(models)
    }

    /// The command that runs one model. The variables by which loom itself would end an exploration early, and call
    /// it a success, are taken away.
    pub(crate) fn command(&self, model: &Model) -> Command {
        let mut command = Command::new(&self.programs[model.program]);
        command.args(["--exact", &model.test, "--nocapture", "--test-threads=1"]).current_dir(cargo::root());
        for name in
            ["LOOM_MAX_DURATION", "LOOM_MAX_PERMUTATIONS", "LOOM_MAX_PREEMPTIONS", "LOOM_MAX_BRANCHES"]
        {
            command.env_remove(name);
        }
        command
    }
}

/// What a model says of itself when it has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    line: String,
    executions: u64,
}

/// The reports in a model's output. libtest may have written the name of the test in front of one.
fn reports(output: &str) -> Vec<Report> {
    let parse = |line: &str| {
        let line = line[line.find("model ")?..].to_owned();
        let (_, numbers) = line.split_once(": bound ")?;
        let (_, executions) = numbers.split_once(", executions ")?;
        let executions = executions.split_once(',')?.0.parse().ok()?;
        Some(Report { line, executions })
    };
    output.lines().filter_map(parse).collect()
}

/// Runs all models that the filters admit.
pub(crate) fn step(shell: &Shell, request: &Request) -> Result<String> {
    let models = Models::build(shell)?;
    let tests: Vec<Model> =
        models.list(shell)?.into_iter().filter(|test| request.admits(&test.to_string())).collect();
    if tests.is_empty() {
        return Err(Failure(format!("no model has any of {:?} in its name", request.filters)));
    }
    let results = parallel::map(&tests, |test| {
        let finished = process::run(models.command(test), PROCESS_LIMIT, |_| ()).context(test);
        let result = finished.and_then(|finished| judge(shell, &test.to_string(), &finished));
        if let Err(failure) = &result {
            shell.say(&format!("FAILED {test}: {failure}"));
        }
        result
    });
    let failed = results.iter().filter(|result| result.is_err()).count();
    if failed > 0 {
        return Err(Failure(format!("{failed} of {} model tests failed", tests.len())));
    }
    let reports: Vec<&Report> = results.iter().flatten().flatten().collect();
    let executions: u64 = reports.iter().map(|report| report.executions).sum();
    Ok(format!("{} models in {} tests, {executions} executions", reports.len(), tests.len()))
}

fn judge(shell: &Shell, test: &str, finished: &Finished) -> Result<Vec<Report>> {
    if let Some(complaint) = finished.complaint() {
        finished.output.lines().for_each(|line| shell.detail(&format!("{test}: {line}")));
        return Err(Failure(complaint));
    }
    let reports = reports(&finished.output);
    reports.iter().for_each(|report| shell.detail(&report.line));
    if reports.is_empty() {
        return Err(Failure("ran no model".to_owned()));
    }
    // Each model checks this for itself; a bound from outside excuses it.
    let bounded = std::env::var_os("LINKPOLL_MODEL_BOUND").is_some();
    match reports.iter().find(|report| report.executions < FEWEST_EXECUTIONS && !bounded) {
        Some(report) => Err(Failure(format!("too few executions: {}", report.line))),
        None => Ok(reports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_found_behind_the_name_of_a_test() {
        let output = "running 1 test\n\
            test a::models::b ... model no lost wake: bound 3, executions 1234, 56 ms\n\
            model second: bound none, executions 7, 1 ms\nok\n";
        let found: Vec<u64> = reports(output).iter().map(|report| report.executions).collect();
        assert_eq!(found, [1234, 7]);
        assert_eq!(reports(output)[0].line, "model no lost wake: bound 3, executions 1234, 56 ms");
    }

    #[test]
    fn a_failing_model_is_not_a_report() {
        assert_eq!(reports("model x: only 3 executions\nthread panicked"), []);
    }
}
