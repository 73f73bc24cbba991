//! File descriptors: enough of them, or one line that says how many are missing.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::LabError;

/// Descriptors besides the connections: standard streams, epoll, listener, pipes, files under `/proc`.
const SPARE: u64 = 64;

/// Makes room for `connections` sockets in this process and those it starts, raising the soft limit to the hard
/// one where that is needed.
///
/// # Errors
/// [`LabError::Descriptors`] where the hard limit is too low.
pub(crate) fn ensure(connections: u64) -> Result<(), LabError> {
    let needed = connections.saturating_add(SPARE);
    let (soft, hard) = limits()?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(LabError::Descriptors { needed, limit: hard });
    }
    raise()
}

/// Raises the soft limit to the hard one.
///
/// # Errors
/// The system's refusal.
pub(crate) fn raise() -> Result<(), LabError> {
    let (_, hard) = limits()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(LabError::system("raise the file descriptor limit"))
}

/// The most descriptors that this process may have now.
///
/// # Errors
/// The system's refusal.
pub(crate) fn soft() -> Result<u64, LabError> {
    limits().map(|(soft, _)| soft)
}

fn limits() -> Result<(u64, u64), LabError> {
    getrlimit(Resource::RLIMIT_NOFILE).map_err(LabError::system("read the file descriptor limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_number_names_itself_and_the_limit() {
        let error = ensure(u64::MAX).unwrap_err().to_string();
        assert!(error.contains(&u64::MAX.to_string()) && error.contains("hard limit is"), "{error}");
    }
}
