//! What a step is, which steps there are, and where a step's output goes.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::process::{self, Finished};
use crate::{cargo, checks, features, fuzz, loom, mutants, prop, skips};

/// A suite that is green or not.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Shell, &Request) -> Result<String>,
}

/// All steps, in the order in which `cargo verify` runs them: what is quick to fail comes first.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "fmt", about: "the formatting of all packages", run: checks::fmt },
    Step {
        name: "clippy",
        about: "lints: default features, no features, under the model checker, with fault injection",
        run: checks::clippy,
    },
    Step { name: "doc", about: "documentation, private items too", run: checks::doc },
    Step { name: "test", about: "`cargo test`, documentation tests too", run: checks::test },
    Step {
        name: "features",
        about: "every combination of features compiles without warnings",
        run: features::step,
    },
    Step { name: "loom", about: "every model, every interleaving within its bound", run: loom::step },
    Step {
        name: "ordering-mutants",
        about: "every memory ordering is needed by a model, or listed",
        run: mutants::step,
    },
    Step { name: "prop", about: "property tests with many cases", run: prop::step },
    Step {
        name: "fuzz-smoke",
        about: "every fuzz target for some seconds (needs a C++ compiler)",
        run: fuzz::step,
    },
    Step {
        name: "asan",
        about: "the tests of the core and of shared memory under the address and leak sanitizers, with fault injection",
        run: checks::asan,
    },
    Step {
        name: "skips",
        about: "as root on a CI machine nothing is skipped without a listed reason",
        run: skips::step,
    },
];

/// How a step was asked for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Only what has one of these in its name; empty means all.
    pub(crate) filters: Vec<String>,
    /// Part of a run of many steps: the suites that can take any time take little.
    pub(crate) short: bool,
}

impl Request {
    /// Whether the filters let `name` through.
    pub(crate) fn admits(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// Why a step failed: a sentence for a person.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds what was being done to an input or output error.
pub(crate) trait Context<T> {
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

/// The log of one step, and the terminal where the step is the only one.
pub(crate) struct Shell {
    path: PathBuf,
    log: Mutex<File>,
    echo: bool,
}

impl Shell {
    /// Starts `target/verify/<step>.log` anew. With `echo` everything also goes to standard output.
    pub(crate) fn new(step: &str, echo: bool) -> Result<Self> {
        let path = cargo::scratch("verify").join(format!("{step}.log"));
        let log = create(&path).context(path.display())?;
        Ok(Self { path, log: Mutex::new(log), echo })
    }

    /// The path of the log.
    pub(crate) fn log(&self) -> &Path {
        &self.path
    }

    /// A line for the log; on the terminal only where the step runs alone.
    pub(crate) fn detail(&self, line: &str) {
        self.write(line, self.echo);
    }

    /// A line for the log and the terminal.
    pub(crate) fn say(&self, line: &str) {
        self.write(line, true);
    }

    fn write(&self, line: &str, show: bool) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not hide what the step has to say, and there is no better place to report it.
        let _ = writeln!(log, "{line}");
        if show {
            println!("{line}");
        }
    }

    /// Runs a command to its end and shows its output, but not the messages that Cargo means for programs.
    ///
    /// # Errors
    /// When it cannot start, fails, or takes longer than `limit`.
    pub(crate) fn run(&self, command: Command, limit: Duration) -> Result<Finished> {
        let text = process::describe(&command);
        self.detail(&format!("$ {text}"));
        let each = |line: &str| {
            if !line.starts_with("{\"") {
                self.detail(line);
            }
        };
        let finished = process::run(command, limit, each).context(&text)?;
        match finished.complaint() {
            None => Ok(finished),
            Some(complaint) => Err(Failure(format!("{text}: {complaint}"))),
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    File::create(path)
}
