//! Processes that are stopped (`SIGSTOP`) under traffic, and go on later: callers have their deadlines, others do not notice,
//! and nothing is lost.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::net::Address;
use linkpoll::reactor::Spin;
use linkpoll::service::CallError;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bed::{Message, PATIENCE, Place, Random, dial, echo, finish, finish_loops, loops, server};

const PATH: &str = "LINKPOLL_STOPPED_PATH";
/// How many calls a client in another process makes.
const CALLS: u64 = 3000;
/// How often a process is stopped.
const STOPS: usize = 15;

fn path() -> Option<PathBuf> {
    env::var_os(PATH).map(PathBuf::from)
}

fn say(what: &str) {
    println!("\n{what}");
    std::io::stdout().flush().expect("a pipe");
}

/// Not a test, but the other process of one: without its variable it does nothing.
#[test]
fn a_server() {
    let Some(path) = path() else { return };
    let server = server(&Address::Unix(path), Spin::Once);
    say("listening");
    // The test says nothing. Should it go, so does this.
    drop(std::io::stdin().read(&mut [0]));
    drop(server);
}

/// Likewise.
#[test]
fn a_client() {
    let Some(path) = path() else { return };
    let loops = loops(Spin::Once);
    let client = dial(&loops.dialer(), &Address::Unix(path));
    say("calling");
    let mut random = Random(5);
    for number in 0..CALLS {
        echo(&client, Message { number, len: random.len(100_000) });
    }
    client.close();
    say("done");
    finish_loops(loops);
}

/// The other process. Dropped, it is killed.
struct Other {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(test: &str, path: &Path, ready: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("a program has a path"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut other = Self { child, output };
        other.hear(ready);
        other
    }

    /// Waits until it says so.
    fn hear(&mut self, what: &str) {
        let mut line = String::new();
        while line.trim() != what {
            line.clear();
            let n = self.output.read_line(&mut line).expect("a pipe");
            assert!(n > 0, "it has ended before it has said \"{what}\"");
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Stops it, and waits until it stands still.
    fn stop(&self) {
        kill(self.pid(), Signal::SIGSTOP).expect("it is ours");
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).expect("it is ours");
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    }

    fn go_on(&self) {
        kill(self.pid(), Signal::SIGCONT).expect("it is ours");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A call to a server that is stopped ends when its caller says so. All others are answered, in order, when it goes on.
#[test]
fn callers_of_a_server_that_is_stopped_have_their_deadlines() {
    let place = Place::new("stopped-server");
    let other = Other::start("stopping::a_server", place.path(), "listening");
    let loops = loops(Spin::Once);
    let client = dial(&loops.dialer(), &place.address());
    let mut random = Random(9);
    let mut late = 0;
    for stop in 0..STOPS as u64 {
        let messages: Vec<Message> =
            (0..20).map(|n| Message { number: stop << 8 | n, len: random.len(200_000) }).collect();
        let calls: Vec<_> = messages.iter().map(|message| client.call(message.chain())).collect();
        thread::sleep(Duration::from_micros(random.next() % 2000));
        other.stop();
        let impatient = client.call(Message { number: 1, len: 10 }.chain());
        let asked = Instant::now();
        match impatient.wait_for(Duration::from_millis(20)) {
            Err(CallError::TimedOut) => late += 1,
            Ok(_) => panic!("a process that stands still has answered"),
            Err(other) => panic!("{other}"),
        }
        assert!(asked.elapsed() < PATIENCE);
        other.go_on();
        for (call, message) in calls.into_iter().zip(messages) {
            message.check(&call.wait_for(PATIENCE).expect("nothing is lost"));
        }
    }
    echo(&client, Message { number: 0, len: 1000 });
    assert_eq!(late, STOPS);
    drop(other);
    finish_loops(loops);
}

/// A client that is stopped in the middle of its traffic costs nobody else anything, and goes on where it was.
#[test]
fn a_client_that_is_stopped_loses_nothing_and_disturbs_nobody() {
    let place = Place::new("stopped-client");
    let server = server(&place.address(), Spin::Never);
    let mut other = Other::start("stopping::a_client", place.path(), "calling");
    let loops = loops(Spin::Never);
    let client = dial(&loops.dialer(), &place.address());
    let mut random = Random(11);
    for stop in 0..STOPS as u64 {
        thread::sleep(Duration::from_micros(random.next() % 3000));
        other.stop();
        for n in 0..20 {
            echo(&client, Message { number: stop << 8 | n, len: random.len(100_000) });
        }
        other.go_on();
    }
    other.hear("done");
    assert!(other.child.wait().expect("it ends").success(), "all of its calls were answered");
    finish_loops(loops);
    finish(server);
}
