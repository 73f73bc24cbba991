//! `lab` as a process: started, asked, signalled, judged.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn output(arguments: &[&str]) -> Output {
    lab(arguments).output().unwrap()
}

/// Asserts the exit code and that standard error is one line that starts with `lab: `; returns that line.
pub(crate) fn failure(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("lab: ") && text.trim_end().lines().count() == 1, "{text:?}");
    text.trim_end().to_string()
}

/// The calls that the line of a failed load says were outstanding.
pub(crate) fn outstanding(line: &str) -> u32 {
    let calls = line.rsplit(", ").next().and_then(|text| text.split(" call").next());
    assert!(line.ends_with(" outstanding"), "{line}");
    calls.and_then(|number| number.parse().ok()).expect(line)
}

pub(crate) fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).unwrap();
}

/// A path of this test process.
pub(crate) fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lab-{}-{name}", std::process::id()))
}

/// Longer than anything here takes, on whichever machine, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "given up: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running server, killed at the end of its test.
pub(crate) struct Server {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn floor(listen: &str, variant: &str) -> Self {
        Self::start(lab(&["floor", "--listen", listen, "--variant", variant]))
    }

    pub(crate) fn serve(listen: &str, more: &[&str]) -> Self {
        Self::start(lab(&[&["serve", "--control", "--listen", listen], more].concat()))
    }

    /// Starts `command` and reads where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").expect("an address").to_string();
        Self { child, output, address }
    }

    pub(crate) fn stats(&mut self) -> Value {
        self.child.stdin.as_mut().unwrap().write_all(b"stats\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn load(&self, more: &[&str]) -> Command {
        lab(&[&["load", "--connect", &self.address, "--json", "--warmup", "0s"], more].concat())
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
