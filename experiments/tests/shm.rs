//! `lab` over shared memory, as somebody uses it who has never done so.

#![cfg(feature = "shm")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use support::{Server, eventually, failure, output, path, report};

/// A server over shared memory at a path of the test's own.
fn serve(name: &str, more: &[&str]) -> Server {
    let path = path(name);
    Server::serve(path.to_str().unwrap(), &[&["--transport", "shm"], more].concat())
}

fn load(server: &Server, more: &[&str]) -> Value {
    report(&server.load(&[&["--transport", "shm", "--duration", "150ms"], more].concat()).output().unwrap())
}

fn shmstat(server: &Server) -> Value {
    report(&output(&["shmstat", &server.address, "--json"]))
}

#[test]
fn loads_of_every_shape_are_verified_with_either_doorbell() {
    for doorbell in ["socket", "eventfd"] {
        for spin in ["never", "adaptive"] {
            let bell = ["--doorbell", doorbell, "--spin", spin];
            let mut server = serve("shapes.sock", &[&bell[..], &["--loops", "2"]].concat());
            for (connections, depth, size) in
                [("1", "1", "64"), ("5", "7", "1K"), ("2", "2", "1M"), ("3", "1", "0")]
            {
                let shape = ["--connections", connections, "--depth", depth, "--size", size];
                let report = load(&server, &[&bell[..], &shape].concat());
                assert!(report["requests"].as_u64().unwrap() > 0 && report["errors"] == 0, "{report}");
            }
            // Whoever asks one loop is told of both: sessions are spread over them.
            let stats = shmstat(&server);
            assert_eq!((&stats["loops"], &stats["sessions_accepted"]), (&2.into(), &11.into()), "{stats}");
            let shown = output(&["shmstat", &server.address]);
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(shown.contains("| sessions accepted") && shown.contains("\n\nfailures: "), "{shown}");
            server.signal(Signal::SIGTERM);
            assert!(server.ended().success());
        }
    }
}

/// The system calls of a server for each request of one caller that waits for its reply, both asleep in between.
fn calls_per_request(listen: &str, serve: &[&str], load: &[&str]) -> f64 {
    let mut server = Server::serve(listen, &[&["--loops", "1"], serve].concat());
    let total =
        |stats: Value| ["wait", "receive", "send"].map(|kind| stats["syscalls"][kind].as_u64().unwrap());
    // So slowly that each finds the other asleep, however slow the machine is.
    let load = [&["--rate", "100", "--duration", "2s"], load].concat();
    let before = total(server.stats());
    let report = report(&server.load(&load).output().unwrap());
    let after = total(server.stats());
    let calls: u64 = after.into_iter().zip(before).map(|(after, before)| after - before).sum();
    calls as f64 / report["requests"].as_f64().unwrap()
}

/// Waking a sleeper costs a system call and hearing it another two, as over a socket; an eventfd needs not be read.
#[test]
fn a_parked_round_trip_makes_no_more_system_calls_than_over_a_unix_socket() {
    let place = path("calls.sock");
    let place = place.to_str().unwrap();
    let unix = calls_per_request(place, &[], &[]);
    let shm = ["--transport", "shm"];
    let socket = calls_per_request(place, &shm, &shm);
    let eventfd = [&shm[..], &["--doorbell", "eventfd"]].concat();
    let eventfd = calls_per_request(place, &eventfd, &eventfd);
    // Beginning and end of the session are among them.
    assert!(socket <= unix + 0.2, "{socket} over shared memory, {unix} over a socket");
    assert!(eventfd <= unix - 0.8, "{eventfd} with eventfds, {unix} over a socket");
}

#[test]
fn doorbells_are_left_out_while_both_sides_look() {
    let server = serve("doorbells.sock", &["--loops", "1", "--spin", "always"]);
    load(&server, &["--spin", "always", "--size", "64"]);
    let stats = shmstat(&server);
    let of = |name: &str| stats[name].as_u64().unwrap();
    // Thresholds are 0 at first, so the first value of each of the three counters may be rung for.
    assert!(of("doorbells_sent") <= 3 && of("doorbells_suppressed") > 0, "{stats}");
    assert!(of("spins") > 0 && of("spins_that_paid") > 0 && of("looks") > of("looks_that_paid"), "{stats}");
}

#[test]
fn a_closed_loop_thinks_between_its_calls() {
    let server = serve("think.sock", &["--loops", "1", "--spin", "adaptive"]);
    let report = load(&server, &["--spin", "adaptive", "--think", "2ms"]);
    // 150 ms, with at least 2 ms between calls.
    assert!((1..=75).contains(&report["requests"].as_u64().unwrap()), "{report}");
    assert!(report["p50_ns"].as_u64().unwrap() < 1_000_000_000, "thinking is no waiting");
}

#[test]
fn requests_larger_than_servers_take_are_said_to_be_that() {
    for more in [&[][..], &["--transport", "shm"]] {
        let place = path("large.sock");
        let server = Server::serve(place.to_str().unwrap(), more);
        let load = server.load(&[more, &["--size", "17M"]].concat()).output().unwrap();
        let line = failure(&load, 1);
        assert!(
            line.contains("requests of 17M: a server takes 16M unless its --max-message is larger"),
            "{line}"
        );
        drop(server);
        let _ = fs::remove_file(&place);
        let server = Server::serve(place.to_str().unwrap(), &[more, &["--max-message", "17M"]].concat());
        let load = server.load(&[more, &["--size", "17M", "--duration", "50ms"]].concat()).output().unwrap();
        assert!(report(&load)["requests"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_server_that_stops_lets_a_load_finish_its_calls() {
    for depth in ["1", "16"] {
        let mut server = serve("drained.sock", &[]);
        let load =
            server.load(&["--transport", "shm", "--depth", depth, "--duration", "10m"]).spawn().unwrap();
        eventually("the load is under way", || server.stats()["requests"].as_u64().unwrap() > 1000);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.ended().code(), Some(0));
        let line = failure(&load.wait_with_output().unwrap(), 1);
        assert_eq!(line, "lab: connection 0 was closed by the server, 0 calls outstanding");
    }
}

#[test]
fn a_server_without_descriptors_says_so_and_goes_on() {
    let place = path("few.sock");
    let mut command = Command::new("sh");
    let limited = r#"ulimit -Sn 64 && ulimit -Hn 64 && exec "$0" "$@""#;
    command.args(["-c", limited, env!("CARGO_BIN_EXE_lab"), "serve", "--transport", "shm", "--loops", "1"]);
    command.args(["--listen", place.to_str().unwrap()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Server::start(command);
    let many = ["--transport", "shm", "--connections", "100", "--duration", "50ms"];
    let line = failure(&server.load(&many).output().unwrap(), 1);
    assert!(line.contains("of 100): "), "{line}");
    let mut said = String::new();
    BufReader::new(server.child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("lab: out of file descriptors"), "{said}");
    assert!(load(&server, &["--connections", "3"])["requests"].as_u64().unwrap() > 0);
}

#[test]
fn who_asks_at_the_wrong_place_is_told_so_in_one_line() {
    let ask = |place: &str| failure(&output(&["shmstat", place]), 1);
    let nowhere = path("nowhere.sock");
    let line = ask(nowhere.to_str().unwrap());
    assert!(line.ends_with("no such file or directory") && line.contains("nowhere.sock"), "{line}");

    // A server over a plain Unix socket; and one that has gone and left its file.
    let place = path("plain.sock");
    let server = Server::serve(place.to_str().unwrap(), &[]);
    let line = ask(&server.address);
    assert!(line.contains("no server over shared memory"), "{line}");
    server.signal(Signal::SIGKILL);
    drop(server);
    assert!(ask(place.to_str().unwrap()).ends_with("nobody listens there"));
    let _ = fs::remove_file(&place);

    // One that takes connections and says nothing.
    let listener = UnixListener::bind(&place).unwrap();
    let line = ask(place.to_str().unwrap());
    assert!(line.contains("no answer within 5 s"), "{line}");
    drop(listener);
    let _ = fs::remove_file(&place);

    let server = serve("stopped.sock", &[]);
    server.signal(Signal::SIGSTOP);
    assert!(ask(&server.address).contains("stopped"));
    server.signal(Signal::SIGCONT);
    assert_eq!(shmstat(&server)["sessions_open"], 0);
}
