//! Runs a child process to its end: output of both streams in the order it came, and a time limit that holds.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How often a silent child is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long output may still arrive after the child is gone; a grandchild may hold the pipe for ever.
const LINGER: Duration = Duration::from_secs(2);

/// A child that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) timed_out: bool,
    pub(crate) elapsed: Duration,
    /// Standard output and standard error, line by line as they came.
    pub(crate) output: String,
}

impl Finished {
    /// What is wrong with the way it ended, if anything.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.timed_out {
            Some(format!("not finished after {} s, killed", self.elapsed.as_secs()))
        } else if self.status.success() {
            None
        } else {
            Some(self.status.to_string())
        }
    }
}

/// The command as one would type it, without its environment.
pub(crate) fn describe(command: &Command) -> String {
    let name = command.get_program().to_string_lossy();
    let name = name.rsplit('/').next().unwrap_or(&name).to_owned();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs `command` with an empty standard input; `each` sees every line of output as it comes. After `limit` the
/// child and all its descendants are killed.
///
/// # Errors
/// When the child cannot be started or waited for.
pub(crate) fn run(mut command: Command, limit: Duration, mut each: impl FnMut(&str)) -> io::Result<Finished> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = mpsc::channel();
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        forward(out, sender.clone());
        forward(err, sender);
    }

    let mut output = String::new();
    let mut timed_out = false;
    let mut gone: Option<Instant> = None;
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                each(&line);
                output.push_str(&line);
                output.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if gone.is_some() => break,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(1)),
        }
        if gone.is_none() && child.try_wait()?.is_some() {
            gone = Some(Instant::now());
        }
        if gone.is_none() && started.elapsed() > limit {
            timed_out = true;
            kill_tree(&mut child);
        }
        if gone.is_some_and(|since| since.elapsed() > LINGER) {
            break;
        }
    }
    Ok(Finished { status: child.wait()?, timed_out, elapsed: started.elapsed(), output })
}

fn forward(stream: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            if to.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// Kills a child and what it has started. The descendants are killed by `kill` of the shell, because the standard
/// library can only kill its own children.
fn kill_tree(child: &mut Child) {
    let descendants = descendants(child.id());
    // A child that has just ended by itself is as good as killed.
    let _ = child.kill();
    if !descendants.is_empty() {
        let ids = descendants.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL {ids}")]).stderr(Stdio::null()).status();
    }
}

fn descendants(of: u32) -> Vec<u32> {
    let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // KERNEL: proc(5): the name in parentheses may contain anything; after it come state and parent.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(processes.iter().filter(|process| process.1 == parent).map(|process| process.0));
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_and_the_status_arrive() {
        let mut seen = Vec::new();
        let finished = run(shell("echo out; echo err >&2; exit 3"), Duration::from_secs(10), |line| {
            seen.push(line.to_owned());
        })
        .unwrap();
        seen.sort();
        assert_eq!(seen, ["err", "out"]);
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.complaint().as_deref(), Some("exit status: 3"));
    }

    #[test]
    fn a_child_that_hangs_dies_with_its_children() {
        let finished = run(shell("sleep 600 & echo $!; wait"), Duration::from_millis(200), |_| ()).unwrap();
        assert!(finished.timed_out);
        let grandchild = finished.output.trim();
        let state = fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "still there: {state}");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_keep_us() {
        let finished = run(shell("sleep 5 & exit 0"), Duration::from_secs(60), |_| ()).unwrap();
        assert!(finished.status.success());
        assert!(finished.elapsed < Duration::from_secs(5));
    }
}
