//! A process that is to be killed, seen by its killer.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use super::victims::{PATH, PROGRESS};
use crate::bed::{PATIENCE, until};

/// See the module's documentation. Dropped, it is killed.
pub(crate) struct Victim {
    child: Child,
    lines: Receiver<String>,
    progress: PathBuf,
}

impl Victim {
    /// Runs the test `test`, named with its modules, in a process of its own, with the path of a socket. `number` is different for each victim
    /// that is alive.
    pub(crate) fn run(test: &str, number: u64, path: &str, variables: &[(&str, String)]) -> Self {
        let progress =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("progress-{}-{number}", std::process::id()));
        fs::write(&progress, [0; 8]).expect("a file in the target directory");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(PATH, path)
            .env(PROGRESS, &progress)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs again");
        let output = child.stdout.take().expect("a pipe");
        let (tell, lines) = channel();
        thread::spawn(move || tell_lines(output, &tell));
        Self { child, lines, progress }
    }

    /// Waits until the victim says so.
    pub(crate) fn hear(&self, words: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the victim says what it does");
            if line.contains(words) {
                return;
            }
        }
    }

    pub(crate) fn is_dead(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Kills it, which takes the kernel a while. Answers when that began.
    pub(crate) fn kill(&mut self) -> Instant {
        let now = Instant::now();
        self.child.kill().expect("a child of ours");
        now
    }

    /// Waits until it is dead. Answers the number that it has written last.
    pub(crate) fn bury(mut self) -> u64 {
        until("it dies", || self.is_dead());
        let status = self.child.wait().expect("a child of ours");
        assert_eq!(status.signal(), Some(9), "it was killed, and had no other end: {status}");
        let bytes = fs::read(&self.progress).expect("its file");
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    }
}

fn tell_lines(output: ChildStdout, tell: &Sender<String>) {
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
        drop(fs::remove_file(&self.progress));
    }
}
