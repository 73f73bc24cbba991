//! A process that is to be killed, seen by its killer.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use linkpoll::faults::{KILL, STEPS, Step};

use super::victims::SHORT;
use crate::client::{PATIENCE, until};

/// What orders a victim to die in a step, once it has survived it so many times.
pub(super) fn order(step: Step, survived: u64) -> Vec<(&'static str, String)> {
    match step {
        Step::Short(site) => vec![(KILL, format!("{step} 0")), (SHORT, format!("{site} {survived}"))],
        _ => vec![(KILL, format!("{step} {survived}"))],
    }
}

/// See the module's documentation. Dropped, it is killed.
pub(super) struct Victim {
    child: Child,
    lines: Receiver<String>,
    steps: PathBuf,
}

impl Victim {
    /// Runs the test `test` in a process of its own. `number` is different for each victim that is alive.
    pub(super) fn run(test: &str, number: u64, variables: &[(&str, String)]) -> Self {
        let steps =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("steps-{}-{number}", std::process::id()));
        fs::write(&steps, "begun").expect("a file in the target directory");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &format!("kills::victims::{test}"), "--nocapture", "--test-threads=1"])
            .env(STEPS, &steps)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs again");
        let output = child.stdout.take().expect("a pipe");
        let (tell, lines) = channel();
        thread::spawn(move || tell_lines(output, &tell));
        Self { child, lines, steps }
    }

    /// What the victim says behind `word`.
    pub(super) fn hear(&self, word: &str) -> Option<String> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).ok()?;
            if let Some((_, said)) = line.split_once(word) {
                return Some(said.trim().to_owned());
            }
        }
    }

    pub(super) fn is_dead(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Kills it. Answers the step that it has written last.
    pub(super) fn kill(mut self) -> String {
        self.child.kill().expect("a child of ours");
        let status = self.child.wait().expect("a child of ours");
        assert_eq!(status.signal(), Some(9), "it was killed and had no part in it");
        self.last()
    }

    /// Waits until it has killed itself.
    pub(super) fn wait(mut self) {
        until("it comes to its last step", || self.is_dead());
        let status = self.child.wait().expect("a child of ours");
        assert_eq!(status.signal(), Some(9), "it killed itself: {status}");
    }

    fn last(&self) -> String {
        fs::read_to_string(&self.steps).expect("it has a file for steps").trim_end().to_owned()
    }
}

fn tell_lines(output: ChildStdout, tell: &std::sync::mpsc::Sender<String>) {
    // A victim's last words may be cut off anywhere.
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if tell.send(line).is_err() {
            return;
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_file(&self.steps));
    }
}
