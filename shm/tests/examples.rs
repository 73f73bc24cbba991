//! The two examples, run against each other: the client must get through a restart of the server.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a program has a path");
    let built = test.ancestors().nth(2).expect("it lies under the target directory").join("examples");
    Command::new(built.join(name))
}

/// A server that listens, killed when dropped.
struct Server(Child);

impl Server {
    fn start(path: &Path) -> Self {
        let child = example("shm_server").arg(path).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the example is built along with this test");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says that it listens");
        assert!(line.starts_with("listening on"), "{line}");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("linkpoll-shm-{}-{name}", std::process::id()))
}

#[test]
fn calls_are_answered_across_a_restart_of_the_server() {
    let path = path("restart");
    let server = Server::start(&path);
    let client = example("shm_client").arg(&path).arg("3000").stdout(Stdio::piped()).spawn();
    let client = client.expect("the example is built along with this test");
    drop(server);
    let again = Server::start(&path);
    let output = client.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("3000 calls"), "{output:?}");
    drop(again);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_wrong_number_of_arguments_is_a_usage() {
    for name in ["shm_server", "shm_client"] {
        let output = example(name).output().expect("the example is built along with this test");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage"), "{output:?}");
    }
}

/// Waiting changes nothing about a path that cannot be, and each failure is a line that names it.
#[test]
fn what_cannot_be_is_said_at_once() {
    let long = path(&"x".repeat(120));
    let begin = Instant::now();
    for name in ["shm_server", "shm_client"] {
        let output = example(name).arg(&long).output().expect("the example is built along with this test");
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.starts_with(name) && line.contains("xxxx") && line.contains("too long"), "{line}");
    }
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "the client is patient only with servers that are away"
    );
    let path = path("taken");
    let server = Server::start(&path);
    let output =
        example("shm_server").arg(&path).output().expect("the example is built along with this test");
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(line.contains("taken") && line.contains("in use"), "{line}");
    drop(server);
    let _ = std::fs::remove_file(&path);
}
