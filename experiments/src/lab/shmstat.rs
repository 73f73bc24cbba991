//! `lab shmstat`: what a server over shared memory has done so far.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::ASCII_MARKDOWN};
use linkpoll_shm::handshake::{self, HandshakeError};

use crate::cli::ShmstatArguments;
use crate::error::{LabError, STANDARD_OUTPUT, reason};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts that are parts of others: what they are called, the part, and what makes the whole with it.
const SHARES: [(&str, &str, &str); 4] = [
    ("spins that paid", "spins_that_paid", "spins"),
    ("looks that paid", "looks_that_paid", "looks"),
    ("batches without a doorbell", "doorbells_suppressed", ""),
    ("bytes sent that were lent", "bytes_lent", "bytes_sent"),
];

/// Beginnings of the names of what has gone wrong.
const FAILURES: [&str; 2] = ["refused_", "violation_"];
/// Others of them.
const OTHER_FAILURES: [&str; 9] = [
    "handshake_refused_by_peer",
    "handshake_left_by_peer",
    "handshake_broken",
    "ended_by_peer",
    "peer_gone",
    "nobody_reads",
    "socket_broken",
    "socket_not_read",
    "no_descriptors",
];

/// Asks, and prints the answer: a table, and what has gone wrong, if anything has; or all counts as JSON.
///
/// # Errors
/// When nobody listens at the path, or whoever does speaks another protocol, or does not answer.
pub(crate) fn run(arguments: &ShmstatArguments) -> Result<(), LabError> {
    let asked = handshake::ask_statistics(&arguments.path, PATIENCE);
    let text = asked.map_err(|error| refused(&arguments.path, &error))?;
    let counts = read(&text).ok_or_else(|| {
        LabError::Unavailable(format!("{} has answered something else than counts", arguments.path.display()))
    })?;
    let text = if arguments.json {
        let counts: BTreeMap<_, _> = counts.into_iter().collect();
        serde_json::to_string_pretty(&counts).map_err(LabError::system("encode the counts"))?
    } else {
        show(&counts)
    };
    writeln!(io::stdout(), "{text}").map_err(LabError::system(STANDARD_OUTPUT))
}

/// Why there is no answer, for somebody who may have given the wrong path.
fn refused(path: &Path, error: &HandshakeError) -> LabError {
    let why = match error {
        HandshakeError::Local(error) => match error.kind() {
            ErrorKind::TimedOut => format!(
                "no answer within {} s: whoever listens there is stopped, or is no server over shared memory",
                PATIENCE.as_secs()
            ),
            ErrorKind::ConnectionRefused => "nobody listens there".into(),
            _ => reason(error),
        },
        HandshakeError::Closed(_) | HandshakeError::Control(_) | HandshakeError::Rejected(_) => {
            format!("whoever listens there is no server over shared memory ({error})")
        }
        error => error.to_string(),
    };
    LabError::Unavailable(format!("ask {}: {why}", path.display()))
}

/// Lines of `name value`. `None` where they are none: what another process says is not printed as it is.
fn read(text: &str) -> Option<Vec<(String, u64)>> {
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(' ')?;
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            (!name.is_empty() && name.bytes().all(plain)).then_some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

fn is_failure(name: &str) -> bool {
    FAILURES.iter().any(|start| name.starts_with(start)) || OTHER_FAILURES.contains(&name)
}

fn show(counts: &[(String, u64)]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["count", "so far"]);
    for (name, value) in counts.iter().filter(|(name, _)| !is_failure(name)) {
        table.add_row([name.replace('_', " "), value.to_string()]);
    }
    let of = |name: &str| counts.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    for (label, part, whole) in SHARES {
        let Some(part) = of(part) else { continue };
        let whole = if whole.is_empty() { of("doorbells_sent").map(|sent| sent + part) } else { of(whole) };
        if let Some(whole) = whole.filter(|whole| *whole > 0) {
            table.add_row([label.to_owned(), format!("{:.1} %", part as f64 * 100.0 / whole as f64)]);
        }
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let failures = counts.iter().filter(|(name, value)| is_failure(name) && *value > 0);
    let failures: Vec<_> =
        failures.map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect();
    let failures = if failures.is_empty() { "none".into() } else { failures.join(", ") };
    format!("{table}\n\nfailures: {failures}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_shown_with_their_shares_and_failures_apart() {
        let text = "loops 1\nspins 4\nspins_that_paid 3\ndoorbells_sent 1\ndoorbells_suppressed 9\n\
                    violation_tail 0\npeer_gone 2\n";
        let shown = show(&read(text).unwrap());
        for wanted in ["| spins that paid", "75.0 %", "90.0 %", "failures: peer gone 2"] {
            assert!(shown.contains(wanted), "{shown}");
        }
        assert!(!shown.contains("violation"), "{shown}");
        assert!(show(&read("violation_tail 0\n").unwrap()).ends_with("failures: none"));
    }

    #[test]
    fn the_answer_of_a_stranger_is_not_printed() {
        for wrong in ["\u{1b}[2J 1", "Sessions 1", "sessions", "sessions -1", " 1", "sessions 1 2"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_failure_of_a_driver_is_one_here() {
        let statistics = linkpoll_shm::driver::Statistics::default();
        let failures = statistics.handshakes.named().chain(statistics.errors.named());
        let unknown: Vec<_> = failures.map(|(name, _)| name).filter(|name| !is_failure(name)).collect();
        assert_eq!(unknown, ["forked"], "what this process did itself");
        assert!(statistics.traffic.named().iter().all(|(name, _)| !is_failure(name)));
    }
}
