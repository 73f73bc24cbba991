//! A server as a child process: started, asked for its counters, ended.

#![expect(unsafe_code, reason = "a closure between fork and exec")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::contestant::Contestant;
use crate::address::Address;
use crate::affinity;
use crate::control::Stats;
use crate::error::LabError;

/// How long a server may take for an answer, or for its end; draining is limited to less.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    drains: bool,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) address: Address,
}

impl Server {
    /// Starts a server on `cpu` and waits until it listens. It dies with the calling thread.
    ///
    /// # Errors
    /// It cannot be started, or ends or stays silent instead of listening.
    pub(crate) fn start(contestant: &Contestant, cpu: Option<usize>) -> Result<Self, LabError> {
        let name = contestant.name.clone();
        let program = std::env::current_exe().map_err(LabError::system("find this program"))?;
        let mut command = Command::new(program);
        command
            .args(&contestant.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let prepare = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            cpu.map_or(Ok(()), |cpu| affinity::pin(&[cpu])).map_err(io::Error::from)
        };
        // SAFETY: between fork and exec `prepare` only makes two system calls; it neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn().map_err(LabError::system(format!("start server {name}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(LabError::Server { name, detail: "no pipes".into() });
        };
        let address = Address::Tcp(([0, 0, 0, 0], 0).into());
        let output = BufReader::new(output);
        let mut server = Self { name, drains: contestant.drains, child, input, output, address };
        let line = server.line()?;
        server.address = match line.trim_end().strip_prefix("listening on ").map(str::parse) {
            Some(Ok(address)) => address,
            _ => return Err(server.failed(format!("said `{}` instead of where it listens", line.trim_end()))),
        };
        Ok(server)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for the counters.
    ///
    /// # Errors
    /// The server is gone, silent, or answers something else.
    pub(crate) fn stats(&mut self) -> Result<Stats, LabError> {
        if self.input.write_all(b"stats\n").is_err() {
            let detail = self.fate().unwrap_or_else(|| "takes no questions".into());
            return Err(self.failed(detail));
        }
        let line = self.line()?;
        serde_json::from_str(&line)
            .map_err(|_| self.failed(format!("answered `{}` to `stats`", line.trim_end())))
    }

    /// Why the server ended, if it did: a signal, or its exit code and last words.
    pub(crate) fn fate(&mut self) -> Option<String> {
        let deadline = Instant::now() + Duration::from_millis(500);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                _ if Instant::now() > deadline => return None,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut words = String::new();
        if let Some(stream) = &mut self.child.stderr {
            let _ = stream.read_to_string(&mut words);
        }
        let ended = ending(status);
        Some(match words.lines().last().map(|line| line.strip_prefix("lab: ").unwrap_or(line)) {
            Some(last) => format!("{ended} ({last})"),
            None => ended,
        })
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// A server that drains did not, or ended otherwise than with exit code 0.
    pub(crate) fn stop(mut self) -> Result<(), LabError> {
        let id = i32::try_from(self.child.id()).map_err(|_| self.failed("has no process id".into()))?;
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.failed(ending(status)));
        }
        kill(Pid::from_raw(id), Signal::SIGTERM).map_err(LabError::system("signal a server"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if !self.drains || status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(format!("{} when asked to end", ending(status)))),
                _ if Instant::now() > deadline => return Err(self.failed("does not end".into())),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn line(&mut self) -> Result<String, LabError> {
        let mut line = String::new();
        let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut watched, limit).map_err(LabError::system("wait for a server"))?;
        if ready == 0 {
            return Err(self.failed(format!("said nothing for {} s", PATIENCE.as_secs())));
        }
        match self.output.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line),
            _ => {
                let detail = self.fate().unwrap_or_else(|| "closed its output".into());
                Err(self.failed(detail))
            }
        }
    }

    fn failed(&self, detail: String) -> LabError {
        LabError::Server { name: self.name.clone(), detail }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Address::Unix(path) = &self.address {
            // One that has drained has done so itself.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}
