//! `lab load`.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::ProgressBar;

use super::{Config, DESCRIPTORS_OF_A_SESSION, Phase};
use crate::affinity;
use crate::cli::{LoadArguments, Medium};
use crate::error::{LabError, STANDARD_OUTPUT};
use crate::rlimit;

/// Drives a server and prints the report.
///
/// # Errors
/// Too few file descriptors, or whatever ends the load early.
pub(crate) fn run(arguments: &LoadArguments) -> Result<(), LabError> {
    let each = if arguments.transport == Medium::Socket { 1 } else { DESCRIPTORS_OF_A_SESSION };
    rlimit::ensure(u64::from(arguments.connections) * each + u64::from(arguments.stalled))?;
    // Hidden where standard error is no terminal.
    let bar = ProgressBar::new_spinner().with_message("connecting");
    bar.enable_steady_tick(Duration::from_millis(200));
    // Pinned after the bar's own thread was started, so that drawing stays off these processors.
    if let Some(cpus) = &arguments.cpus {
        affinity::obey(cpus)?;
    }
    let report = super::run(&Config::from(arguments), &mut |phase| {
        bar.set_message(match phase {
            Phase::Connected => "warming up",
            Phase::Begin => "measuring",
            Phase::End => "done",
        });
    });
    bar.finish_and_clear();
    let report = report?;
    let text = if arguments.json {
        serde_json::to_string(&report).map_err(LabError::system("encode the report"))?
    } else {
        report.to_string()
    };
    writeln!(io::stdout(), "{text}").map_err(LabError::system(STANDARD_OUTPUT))
}
