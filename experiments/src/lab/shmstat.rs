//! `lab shmstat`: what a server over shared memory has done so far.

use std::io::{self, Write as _};
use std::time::Duration;

use linkpoll_shm::handshake;

use crate::cli::ShmstatArguments;
use crate::error::{LabError, STANDARD_OUTPUT};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks, and prints the answer: lines of `name value`.
///
/// # Errors
/// When nobody listens at the path, or whoever does speaks another protocol.
pub(crate) fn run(arguments: &ShmstatArguments) -> Result<(), LabError> {
    let asked = handshake::ask_statistics(&arguments.path, PATIENCE);
    let text = asked.map_err(LabError::system(format!("ask {}", arguments.path.display())))?;
    io::stdout().write_all(text.as_bytes()).map_err(LabError::system(STANDARD_OUTPUT))
}
