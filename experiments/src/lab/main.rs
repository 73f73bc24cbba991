//! `lab`: serves, drives and measures every transport of linkpoll on the machine it runs on.
//!
//! Exit codes: 0 done, 1 a run that failed, 2 wrong arguments. A failure is one line on standard error.

mod address;
mod affinity;
mod cli;
mod control;
mod doctor;
mod environment;
mod error;
mod floor;
mod load;
mod rlimit;
mod run;
mod serve;
mod service;
#[cfg(feature = "shm")]
mod shmstat;
mod stats;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use cli::{Command, Invocation};
use error::LabError;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Invocation::Run(command) => command,
        Invocation::Print(text) => {
            return match std::io::stdout().write_all(text.as_bytes()) {
                // Help that nobody reads any more (a closed pipe) is no failure.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    fail(&LabError::system(error::STANDARD_OUTPUT)(error))
                }
                _ => ExitCode::SUCCESS,
            };
        }
        Invocation::Refuse(line) => {
            let _ = writeln!(std::io::stderr(), "lab: {line}");
            return ExitCode::from(2);
        }
    };
    match dispatch(command) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any more (`lab doctor | head`): that is no failure.
        Err(LabError::System { what, source })
            if source.kind() == ErrorKind::BrokenPipe && what == error::STANDARD_OUTPUT =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &LabError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "lab: {error}");
    ExitCode::FAILURE
}

fn dispatch(command: Command) -> Result<(), LabError> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Load(arguments) => load::command::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        #[cfg(feature = "shm")]
        Command::Shmstat(arguments) => shmstat::run(&arguments),
        Command::Floor(arguments) => floor::run(&arguments),
    }
}
