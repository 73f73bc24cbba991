//! The program from outside: exit codes, single lines on standard error, and loads against real servers.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(unsafe_code, reason = "how a signal is met is changed")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use serde_json::Value;

use support::{Server, eventually, failure, lab, output, outstanding, path, report, signal};

#[test]
fn closed_loops_of_every_shape_are_verified() {
    for variant in ["own", "shared"] {
        let floor = Server::floor("127.0.0.1:0", variant);
        for (connections, depth, size) in
            [("1", "1", "0"), ("3", "4", "1024"), ("40", "1", "17"), ("2", "3", "300000")]
        {
            let shape =
                ["--connections", connections, "--depth", depth, "--size", size, "--duration", "100ms"];
            let report = report(&floor.load(&shape).output().unwrap());
            let (requests, frame) = (report["requests"].as_u64().unwrap(), size.parse::<u64>().unwrap() + 4);
            assert!(requests > 0 && report["errors"] == 0, "{report}");
            assert_eq!(report["bytes"].as_u64().unwrap(), requests * frame);
        }
    }
}

#[test]
fn an_open_loop_sends_exactly_what_is_planned() {
    let floor = Server::floor("127.0.0.1:0", "shared");
    let planned = ["--connections", "4", "--depth", "2", "--rate", "2000", "--duration", "500ms"];
    assert_eq!(report(&floor.load(&planned).output().unwrap())["requests"], 1000);
}

#[test]
fn an_open_loop_charges_a_pause_to_every_request_it_delayed() {
    let mut floor = Server::floor("127.0.0.1:0", "shared");
    let load = floor.load(&["--rate", "1000", "--duration", "3s"]).spawn().unwrap();
    under_way(&mut floor);
    signal(floor.child.id(), Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(1));
    signal(floor.child.id(), Signal::SIGCONT);
    let report = report(&load.wait_with_output().unwrap());
    assert_eq!(report["requests"], 3000);
    // A loop that waited for the pause to end before it sent again would have seen it once.
    assert!(report["p90_ns"].as_u64().unwrap() > 100_000_000, "{report}");
}

#[test]
fn unix_sockets_are_paths() {
    let path = path("load.sock");
    let floor = Server::floor(path.to_str().unwrap(), "own");
    assert_eq!(floor.address, path.to_str().unwrap());
    let mut load = floor.load(&["--connections", "5", "--depth", "2", "--duration", "100ms"]);
    assert!(report(&load.output().unwrap())["requests"].as_u64().unwrap() > 0);
    let _ = fs::remove_file(path);
}

#[test]
fn the_floor_counts_its_system_calls() {
    let mut floor = Server::floor("127.0.0.1:0", "shared");
    let load = ["--rate", "1000", "--duration", "200ms"];
    assert_eq!(report(&floor.load(&load).output().unwrap())["requests"], 200);
    let stats = floor.stats();
    assert!(stats["requests"].is_null());
    // One receive and one send for each request, and the receive that saw the end of the stream.
    assert_eq!(stats["syscalls"]["send"], 200);
    assert!((200..=201).contains(&stats["syscalls"]["receive"].as_u64().unwrap()), "{stats}");
    assert!(stats["syscalls"]["wait"].as_u64().unwrap() > 0);
}

#[test]
fn wrong_arguments_exit_with_2() {
    for wrong in [&["--bogus"][..], &["load"], &["serve"], &["load", "--connect", "x"], &["frobnicate"]] {
        assert!(failure(&output(wrong), 2).contains("--help`)"));
    }
}

#[test]
fn a_refused_connection_is_one_line() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let line = failure(&output(&["load", "--connect", &free, "--connections", "3"]), 1);
    assert!(line.contains(&free) && line.contains("1 of 3") && line.contains("refused"), "{line}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let floor = Server::floor("127.0.0.1:0", "shared");
    let line = failure(&output(&["floor", "--listen", &floor.address]), 1);
    assert!(line.contains(&floor.address) && line.contains("already in use"), "{line}");
}

#[test]
fn too_few_descriptors_says_how_many_are_needed() {
    let line = failure(&output(&["load", "--connect", "127.0.0.1:9", "--connections", "2000000000"]), 1);
    assert!(line.contains("2000000064 file descriptors") && line.contains("hard limit"), "{line}");
}

#[test]
fn a_server_killed_during_a_load_leaves_its_calls_outstanding() {
    let mut floor = Server::floor("127.0.0.1:0", "own");
    let load = floor.load(&["--connections", "8", "--depth", "4", "--duration", "10m"]).spawn().unwrap();
    under_way(&mut floor);
    signal(floor.child.id(), Signal::SIGKILL);
    let line = failure(&load.wait_with_output().unwrap(), 1);
    assert!((1..=32).contains(&outstanding(&line)), "{line}");
}

#[test]
fn a_wrong_byte_in_a_reply_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut frame = [0; 104];
        for number in 0..100 {
            stream.read_exact(&mut frame).unwrap();
            if number == 99 {
                frame[50] ^= 1;
            }
            stream.write_all(&frame).unwrap();
        }
        // Held open until the load has gone.
        let _ = stream.read(&mut frame);
    });
    let line = failure(&output(&["load", "--connect", &address, "--size", "100", "--duration", "20s"]), 1);
    assert!(line.contains("request 99 on connection 0 differs at byte 50, 1 call outstanding"), "{line}");
    server.join().unwrap();
}

#[test]
fn bytes_nobody_asked_for_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut frame = [0; 104];
        stream.read_exact(&mut frame).unwrap();
        stream.write_all(&[&frame[..], &[0; 5]].concat()).unwrap();
        let _ = stream.read(&mut frame);
    });
    let line = failure(&output(&["load", "--connect", &address, "--size", "100", "--duration", "20s"]), 1);
    // Cut into two segments the surplus may arrive while the next request is on its way, and then differs from it.
    assert!(
        line.contains("nobody asked for") || line.contains("request 1 on connection 0 differs"),
        "{line}"
    );
    server.join().unwrap();
}

#[test]
fn the_doctor_answers_in_json() {
    let output = output(&["doctor", "--json"]);
    assert!(output.status.success());
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(diagnosis["findings"].as_array().unwrap().len() > 15);
}

#[test]
fn a_file_that_cannot_be_written_stops_a_run_before_it_starts() {
    let line = failure(&output(&["run", "--quick", "--json", "/nonexistent/run.json"]), 1);
    assert!(line.contains("/nonexistent/run.json"), "{line}");
}

#[test]
fn a_run_without_transports_measures_the_floor() {
    let path = path("run.json");
    let output = output(&["run", "--quick", "--transports", "none", "--json", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();
    for row in record["rows"].as_array().unwrap() {
        // A receive and a send for each batch of requests, so 2 at depth 1, and a share of a wait.
        let (depth, calls) =
            (row["shape"]["depth"].as_f64().unwrap(), row["syscalls_per_request"].as_f64().unwrap());
        // More where a request does not fit into the buffer.
        let most = if row["shape"]["size"].as_u64().unwrap() > 32 << 10 { f64::INFINITY } else { 3.01 };
        assert!(calls > 2.0 / depth && calls < most, "{row}");
        assert!(row["server_cpu_ns_per_request"].as_f64().unwrap() > 0.0, "{row}");
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\ntransport ") && text.contains("raw numbers: "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
}

#[test]
fn a_run_in_markdown_prints_nothing_else() {
    let path = path("markdown.json");
    let run = ["run", "--quick", "--markdown", "--transports", "none", "--json", path.to_str().unwrap()];
    let output = output(&run);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(&path).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let table = text.lines().take_while(|line| !line.is_empty());
    assert!(text.starts_with("| transport ") && table.count() > 4, "{text}");
    assert!(text.contains("\n```text\nkernel ") && text.ends_with("```\n"), "{text}");
}

#[test]
fn a_record_of_an_earlier_run_survives_one_that_fails() {
    let (run, servers, path) = run_with_servers("earlier", "numbers");
    servers.iter().for_each(|server| signal(*server, Signal::SIGKILL));
    failure(&run.wait_with_output().unwrap(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), "numbers");
    fs::remove_file(path).unwrap();
}

/// Waits until a server has sent the first replies of a load.
fn under_way(floor: &mut Server) {
    eventually("the load is under way", || floor.stats()["syscalls"]["send"].as_u64().unwrap() > 50);
}

/// The servers a run has started and not yet ended.
fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// The sockets of a process; none once it has ended.
fn sockets(process: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// A run and its servers, all of which have connections; `earlier` is what the file of its numbers holds before, if there is one.
fn run_with_servers(name: &str, earlier: &str) -> (Child, Vec<u32>, PathBuf) {
    let path = path(name);
    if !earlier.is_empty() {
        fs::write(&path, earlier).unwrap();
    }
    let run = lab(&["run", "--transports", "none", "--json", path.to_str().unwrap()]).spawn().unwrap();
    let mut servers = Vec::new();
    eventually("two servers have listeners and connections", || {
        servers = children(run.id());
        servers.len() >= 2 && servers.iter().all(|server| sockets(*server) >= 2)
    });
    (run, servers, path)
}

#[test]
fn a_server_killed_during_a_run_ends_it_with_one_line() {
    let (run, servers, path) = run_with_servers("server-killed", "");
    for server in servers {
        signal(server, Signal::SIGKILL);
    }
    let line = failure(&run.wait_with_output().unwrap(), 1);
    assert!(line.contains("server floor") && line.contains("killed by signal 9"), "{line}");
    assert!(!path.exists(), "a failed run leaves a file behind");
}

#[test]
fn servers_do_not_outlive_a_run() {
    // A shell that starts tests in the background lets them ignore interrupts, and so would the run.
    // SAFETY: the default action has no handler that could do anything wrong.
    unsafe {
        sigaction(Signal::SIGINT, &SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()))
    }
    .unwrap();
    for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let (mut run, servers, path) = run_with_servers("run-killed", "");
        signal(run.id(), how);
        let mut ended = None;
        eventually("the signal is heeded", || {
            ended = run.try_wait().unwrap();
            ended.is_some()
        });
        // By itself it would end in success, and only after minutes.
        assert!(!ended.unwrap().success(), "{how}");
        let alive = |server: &u32| {
            // An orphan that nobody has waited for yet is dead all the same.
            fs::read_to_string(format!("/proc/{server}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        eventually("no server lives on", || !servers.iter().any(alive));
        assert!(!path.exists(), "a run that was ended leaves a file behind");
    }
}
