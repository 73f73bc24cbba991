//! How a server that was started by `lab run` reports its counters.
//!
//! The server prints `listening on ADDRESS` on standard output. Then each line `stats` on its standard input is
//! answered by one line of JSON. The end of standard input does not stop it; a signal does.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// System calls of a server since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Syscalls {
    /// `epoll_wait` and its relatives.
    pub(crate) wait: u64,
    /// `recv`, `readv`, `recvmsg`.
    pub(crate) receive: u64,
    /// `send`, `writev`, `sendmsg`.
    pub(crate) send: u64,
    /// Everything else the transport does: accept, interest changes, wake-ups.
    pub(crate) other: u64,
}

impl Syscalls {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.wait + self.receive + self.send + self.other
    }

    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            wait: self.wait.saturating_sub(earlier.wait),
            receive: self.receive.saturating_sub(earlier.receive),
            send: self.send.saturating_sub(earlier.send),
            other: self.other.saturating_sub(earlier.other),
        }
    }
}

/// One answer to `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Requests answered since the start; `None` where the server does not look into the bytes.
    pub(crate) requests: Option<u64>,
    /// System calls since the start.
    pub(crate) syscalls: Syscalls,
}

/// Prints the line that says the server accepts.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn announce(address: &dyn std::fmt::Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "listening on {address}")?;
    output.flush()
}

/// Answers `stats` lines on a thread of its own until standard input ends; `sample` reads the counters.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn answer(sample: impl Fn() -> Stats + Send + 'static) -> io::Result<()> {
    let serve = move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if line.trim() != "stats" {
                continue;
            }
            let Ok(text) = serde_json::to_string(&sample()) else { return };
            if writeln!(io::stdout().lock(), "{text}").is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(serve).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let stats = Stats { requests: None, syscalls: Syscalls { wait: 1, receive: 2, send: 3, other: 4 } };
        let text = serde_json::to_string(&stats).unwrap();
        assert_eq!(text, r#"{"requests":null,"syscalls":{"wait":1,"receive":2,"send":3,"other":4}}"#);
        assert_eq!(serde_json::from_str::<Stats>(&text).unwrap(), stats);
        assert_eq!(stats.syscalls.total(), 10);
    }
}
