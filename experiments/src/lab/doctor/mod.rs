//! `lab doctor`: what this kernel and user may do, each found by trying it.
//!
//! Nothing here is an error: what is missing is an answer. Every attempt undoes itself.

mod aio;
mod driver;
mod event;
mod limit;
mod memory;
mod raw;
mod socket;
mod trace;
mod uring;
mod zerocopy;

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets::ASCII_MARKDOWN};
use nix::errno::Errno;
use serde::Serialize;

use crate::cli::DoctorArguments;
use crate::environment::Environment;
use crate::error::{LabError, STANDARD_OUTPUT};

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Yes,
    No,
    /// Yes, up to what the detail says.
    Limit,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    capability: &'static str,
    answer: Answer,
    detail: String,
}

impl Finding {
    /// It worked, or the system refused with an error number.
    fn tried(capability: &'static str, outcome: Result<String, Errno>) -> Self {
        match outcome {
            Ok(detail) => Self { capability, answer: Answer::Yes, detail },
            Err(errno) => Self { capability, answer: Answer::No, detail: explain(errno) },
        }
    }

    /// It works within limits.
    fn limit(capability: &'static str, detail: String) -> Self {
        Self { capability, answer: Answer::Limit, detail }
    }
}

/// An error number by name, as manual pages list them.
fn explain(errno: Errno) -> String {
    format!("{errno:?} ({})", errno.desc())
}

/// Turns an error of the standard library into its number.
fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

#[derive(Serialize)]
struct Diagnosis<'a> {
    environment: &'a Environment,
    findings: &'a [Finding],
}

/// Tries everything and prints what was found.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn run(arguments: &DoctorArguments) -> Result<(), LabError> {
    let environment = Environment::here();
    let findings = examine();
    let text = if arguments.json {
        let diagnosis = Diagnosis { environment: &environment, findings: &findings };
        serde_json::to_string_pretty(&diagnosis).map_err(LabError::system("encode the findings"))?
    } else {
        format!("{}\n\n{}", machine(&environment), table(&findings))
    };
    writeln!(io::stdout(), "{text}").map_err(LabError::system(STANDARD_OUTPUT))
}

fn examine() -> Vec<Finding> {
    let parts = [
        driver::examine(),
        event::examine(),
        uring::examine(),
        zerocopy::examine(),
        aio::examine(),
        memory::examine(),
        limit::examine(),
        socket::examine(),
        trace::examine(),
    ];
    parts.concat()
}

fn machine(environment: &Environment) -> String {
    // Nothing is pinned by looking around.
    environment.to_string().lines().filter(|line| !line.starts_with("pinned")).collect::<Vec<_>>().join("\n")
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["capability", "answer", "detail"]);
    for finding in findings {
        let answer = match finding.answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Limit => "limit",
        };
        table.add_row([finding.capability, answer, &finding.detail]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_gets_an_answer_and_nothing_is_asked_twice() {
        let findings = examine();
        let mut names: Vec<_> = findings.iter().map(|finding| finding.capability).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), findings.len());
        assert!(findings.iter().all(|finding| !finding.detail.is_empty() && !finding.detail.contains('\n')));
    }

    #[test]
    fn a_refusal_is_named() {
        let finding = Finding::tried("x", Err(Errno::ENOSYS));
        assert_eq!(
            (finding.answer, finding.detail.as_str()),
            (Answer::No, "ENOSYS (Function not implemented)")
        );
    }
}
