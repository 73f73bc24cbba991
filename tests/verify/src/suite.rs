//! Runs steps in a row and says how they ended.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::skips;
use crate::step::{Request, Result, STEPS, Shell, Step};

/// How many lines of a failed step's log are shown.
const SHOWN_LINES: usize = 400;

/// The named steps in their usual order, or all when none is named.
///
/// # Errors
/// The first name that is not a step's.
pub(crate) fn select(names: &[String]) -> std::result::Result<Vec<&'static Step>, String> {
    match names.iter().find(|name| STEPS.iter().all(|step| step.name != name.as_str())) {
        Some(unknown) => Err(unknown.clone()),
        None => {
            Ok(STEPS.iter().filter(|s| names.is_empty() || names.iter().any(|name| name == s.name)).collect())
        }
    }
}

/// Runs one step with its output on the terminal.
pub(crate) fn run_one(step: &Step, filters: &[String]) -> ExitCode {
    skips::forget();
    let request = Request { filters: filters.to_vec(), short: false };
    let started = Instant::now();
    let result = Shell::new(step.name, true).and_then(|shell| (step.run)(&shell, &request));
    skips::announce();
    let seconds = started.elapsed().as_secs_f64();
    match result {
        Ok(summary) => {
            println!("{}: ok, {summary} ({seconds:.1} s)", step.name);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{}: FAILED, {failure} ({seconds:.1} s)", step.name);
            ExitCode::FAILURE
        }
    }
}

/// Runs the steps with headings only; shows the output of those that fail. With `fail_fast` the first failure is
/// the last step.
pub(crate) fn run(steps: &[&Step], fail_fast: bool) -> ExitCode {
    skips::forget();
    let mut outcomes: Vec<(&str, Duration, Result<String>)> = Vec::new();
    for step in steps {
        println!("== {}: {}", step.name, step.about);
        let started = Instant::now();
        let result = attempt(step);
        let elapsed = started.elapsed();
        match &result {
            Ok(summary) => println!("   ok in {:.1} s: {summary}", elapsed.as_secs_f64()),
            Err(failure) => println!("   FAILED in {:.1} s: {failure}", elapsed.as_secs_f64()),
        }
        let failed = result.is_err();
        outcomes.push((step.name, elapsed, result));
        if failed && fail_fast {
            break;
        }
    }
    skips::announce();
    table(&outcomes);
    let failed = outcomes.iter().filter(|outcome| outcome.2.is_err()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn attempt(step: &Step) -> Result<String> {
    let shell = Shell::new(step.name, false)?;
    let result = (step.run)(&shell, &Request { filters: Vec::new(), short: true });
    if result.is_err() {
        show_log(&shell);
    }
    result
}

fn show_log(shell: &Shell) {
    let text = fs::read_to_string(shell.log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let hidden = lines.len().saturating_sub(SHOWN_LINES);
    if hidden > 0 {
        println!("   ({hidden} lines more in {})", shell.log().display());
    }
    lines[hidden..].iter().for_each(|line| println!("   | {line}"));
}

fn table(outcomes: &[(&str, Duration, Result<String>)]) {
    println!("\n{:<18} {:>8}  result", "step", "seconds");
    for (name, elapsed, result) in outcomes {
        let (word, text) = match result {
            Ok(summary) => ("ok", summary.clone()),
            Err(failure) => ("FAILED", failure.to_string()),
        };
        let text = text.lines().next().unwrap_or_default();
        println!("{name:<18} {:>8.1}  {word:<6} {text}", elapsed.as_secs_f64());
    }
    let total: f64 = outcomes.iter().map(|outcome| outcome.1.as_secs_f64()).sum();
    println!("{:<18} {total:>8.1}\n", "total");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_steps_run_in_the_usual_order() {
        let names = |words: &[&str]| -> std::result::Result<Vec<&str>, String> {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            select(&words).map(|steps| steps.iter().map(|step| step.name).collect())
        };
        assert_eq!(names(&["loom", "fmt"]), Ok(vec!["fmt", "loom"]));
        assert_eq!(names(&[]).map(|all| all.len()), Ok(STEPS.len()));
        assert_eq!(names(&["fmt", "lom"]), Err("lom".to_owned()));
    }
}
