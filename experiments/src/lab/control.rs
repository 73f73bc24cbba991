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

/// Bytes that a server has sent, and what became of the memory they were in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Bytes sent.
    pub(crate) sent: u64,
    /// Of those, bytes sent by reference.
    pub(crate) lent: u64,
    /// Of these, bytes that the kernel has copied after all.
    pub(crate) copied: u64,
    /// How long loans took to come back, as counts of [`linkpoll_experiments::delays`].
    pub(crate) delays: Vec<u64>,
}

impl Memory {
    /// What was added since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = earlier.delays.iter().chain(std::iter::repeat(&0));
        Self {
            sent: self.sent.saturating_sub(earlier.sent),
            lent: self.lent.saturating_sub(earlier.lent),
            copied: self.copied.saturating_sub(earlier.copied),
            delays: self.delays.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect(),
        }
    }

    /// Adds what another server, or the same one at another time, has done.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lent += other.lent;
        self.copied += other.copied;
        self.delays.resize(self.delays.len().max(other.delays.len()), 0);
        self.delays.iter_mut().zip(&other.delays).for_each(|(own, others)| *own += others);
    }
}

/// One answer to `stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Requests answered since the start; `None` where the server does not look into the bytes.
    pub(crate) requests: Option<u64>,
    /// System calls since the start.
    pub(crate) syscalls: Syscalls,
    /// Bytes since the start; `None` where they are not counted.
    pub(crate) memory: Option<Memory>,
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
        let syscalls = Syscalls { wait: 1, receive: 2, send: 3, other: 4 };
        let memory = Memory { sent: 5, lent: 6, copied: 7, delays: vec![8, 9] };
        let stats = Stats { requests: None, syscalls, memory: Some(memory) };
        let text = serde_json::to_string(&stats).unwrap();
        let wanted = concat!(
            r#"{"requests":null,"syscalls":{"wait":1,"receive":2,"send":3,"other":4},"#,
            r#""memory":{"sent":5,"lent":6,"copied":7,"delays":[8,9]}}"#,
        );
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<Stats>(&text).unwrap(), stats);
        assert_eq!(stats.syscalls.total(), 10);
    }

    #[test]
    fn memory_is_subtracted_and_added_bucket_by_bucket() {
        let memory = |sent, delays: &[u64]| Memory { sent, lent: sent, copied: 0, delays: delays.to_vec() };
        let mut sum = memory(9, &[1, 2, 3]).since(&memory(4, &[1, 1]));
        assert_eq!(sum, memory(5, &[0, 1, 3]));
        sum.add(&memory(1, &[1, 0, 0, 7]));
        assert_eq!(sum, memory(6, &[1, 1, 3, 7]));
    }
}
