//! Runs the suites that prove linkpoll right, each alone or all in a row.
//!
//! | command | step |
//! |---|---|
//! | `cargo verify` | all steps; `cargo verify loom prop` runs only these |
//! | `cargo loom [FILTER]...` | every model, at the bound it states |
//! | `cargo ordering-mutants [FILTER]...` | every memory ordering, one step weaker, must break a model |
//! | `cargo prop [FILTER]...` | the property tests with many cases |
//! | `cargo fuzz-smoke [FILTER]...` | every fuzz target for some seconds |
//!
//! A step's full output is kept in `target/verify/<step>.log`.

mod cargo;
mod checks;
mod features;
mod fuzz;
mod loom;
mod mutants;
mod parallel;
mod process;
mod prop;
mod skips;
pub mod source;
mod step;
mod suite;

use std::process::ExitCode;

use step::STEPS;

/// What `--help` prints above the list of steps.
const USAGE: &str = "\
Runs linkpoll's suites. Usage:

  cargo verify [--fail-fast] [STEP]...   all steps, or the named ones; goes on after a failure
  linkpoll-verify STEP [FILTER]...       one step, with its output

Environment:
  LINKPOLL_MODEL_BOUND    preemption bound for all models (default: each model's own)
  LINKPOLL_MODEL_SECONDS  time limit of one model (default: 60)
  PROPTEST_CASES          cases of each property (default: 20000, in `verify` 2000)
  LINKPOLL_FUZZ_SECONDS   how long each fuzz target runs (default: 30)
  LINKPOLL_FAULT_SECONDS  how long `asan` tries faults by chance (default: 20)
  LINKPOLL_FAULT_SEED     the one seed to try instead
  LINKPOLL_SOAK_SECONDS   how long the soaks of shared memory take (default: 4 each, in `asan` 2)

Steps:";

/// The program: reads the arguments, runs what they ask for. Exits with 0 when all is green, with 1 when a step
/// failed, with 2 when the arguments make no sense.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = pico_args::Arguments::from_env();
    if arguments.contains(["-h", "--help"]) {
        println!("{USAGE}");
        STEPS.iter().for_each(|step| println!("  {:<18} {}", step.name, step.about));
        return ExitCode::SUCCESS;
    }
    let fail_fast = arguments.contains("--fail-fast");
    let mut words = Vec::new();
    for word in arguments.finish() {
        match word.into_string() {
            Ok(word) if !word.starts_with('-') => words.push(word),
            Ok(word) => return misuse(&format!("unknown option {word}")),
            Err(word) => return misuse(&format!("not UTF-8: {}", word.display())),
        }
    }
    let Some((command, rest)) = words.split_first() else {
        return misuse("no step named");
    };
    if let Err(failure) = std::env::set_current_dir(cargo::root()) {
        return misuse(&format!("cannot enter {}: {failure}", cargo::root().display()));
    }
    if command == "all" {
        return match suite::select(rest) {
            Ok(steps) => suite::run(&steps, fail_fast),
            Err(unknown) => misuse(&format!("unknown step {unknown}")),
        };
    }
    match STEPS.iter().find(|step| step.name == command) {
        Some(step) => suite::run_one(step, rest),
        None => misuse(&format!("unknown step {command}")),
    }
}

fn misuse(what: &str) -> ExitCode {
    eprintln!("linkpoll-verify: {what}; --help lists the steps");
    ExitCode::from(2)
}
