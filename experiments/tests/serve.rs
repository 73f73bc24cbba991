//! `lab serve` from outside: what it refuses, how it ends, and what it does when descriptors run out.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, listen};

use support::{Server, eventually, failure, lab, output, outstanding, path, report};

const TCP: &str = "127.0.0.1:0";

#[test]
fn a_port_in_use_is_refused_however_many_loops_share_one() {
    // With more than one loop, sockets share their port (SO_REUSEPORT): the kernel would let a second server in.
    let server = Server::serve(TCP, &["--loops", "2"]);
    for loops in ["1", "2"] {
        let line = failure(&output(&["serve", "--listen", &server.address, "--loops", loops]), 1);
        assert_eq!(line, format!("lab: listen on {}: address already in use", server.address));
    }
}

#[test]
fn every_way_of_accepting_serves() {
    let socket = path("accept.sock");
    for accept in ["each", "round-robin", "least", "by-address"] {
        for listen in [TCP, socket.to_str().unwrap()] {
            let mut server = Server::serve(listen, &["--accept", accept, "--loops", "2"]);
            let load = ["--connections", "9", "--rate", "2000", "--duration", "200ms"];
            assert_eq!(report(&server.load(&load).output().unwrap())["requests"], 400, "{accept} {listen}");
            assert_eq!(server.stats()["requests"], 400);
            server.signal(Signal::SIGTERM);
            assert!(server.ended().success());
        }
    }
}

#[test]
fn services_serve_and_slow_calls_are_told_apart() {
    for dispatch in [&["inline"][..], &["pool"], &["pool", "--threads", "1"]] {
        let slow = ["--work", "10us", "--slow", "5ms", "--slow-every", "20"];
        let mut server = Server::serve(TCP, &[&["--dispatch"], dispatch, &slow].concat());
        let load = ["--connections", "1", "--depth", "3", "--rate", "400", "--duration", "500ms"];
        let report = report(&server.load(&[&load[..], &["--slow-every", "20"]].concat()).output().unwrap());
        assert_eq!((&report["requests"], &report["slow"]), (&200.into(), &10.into()), "{dispatch:?}");
        assert_eq!(server.stats()["requests"], 200, "{dispatch:?}");
        server.signal(Signal::SIGTERM);
        assert!(server.ended().success());
    }
}

#[test]
fn what_a_server_counts_is_printed() {
    let mut child = lab(&["serve", "--listen", TCP, "--loops", "1", "--dispatch", "pool", "--stats", "20ms"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let address = first.strip_prefix("listening on ").unwrap();
    let load = ["load", "--connect", address, "--rate", "1000", "--duration", "300ms"];
    assert!(output(&load).status.success());
    for wanted in [["loop 0: ", " messages "], ["listener 0: ", "accepted "], ["pool: ", "calls "]] {
        let is_wanted = |line: &String| line.starts_with(wanted[0]) && line.contains(wanted[1]);
        assert!(lines.any(|line| is_wanted(&line)), "{wanted:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn peers_that_never_read_stand_beside_a_load() {
    let server = Server::serve(TCP, &["--loops", "1"]);
    let shape = ["--connections", "2", "--rate", "1000", "--duration", "200ms"];
    assert!(report(&server.load(&shape).output().unwrap())["stalled"].is_null());
    let stalled = [&shape[..], &["--stalled", "3", "--stalled-bytes", "64M"]].concat();
    let report = report(&server.load(&stalled).output().unwrap());
    assert_eq!(report["requests"], 200);
    let (stalled, offered) = (&report["stalled"], (64 << 20) / 1028 * 1028);
    assert_eq!((&stalled["connections"], &stalled["offered"]), (&3.into(), &offered.into()), "{report}");
    // The server has stopped to receive from them, and keeps them.
    let taken = stalled["most_taken"].as_u64().unwrap();
    assert!((100_000..32 << 20).contains(&taken) && stalled["ended"] == 0, "{report}");
}

/// Waits until a load has its first replies.
fn under_way(server: &mut Server) {
    eventually("the load is under way", || server.stats()["requests"].as_u64().unwrap() > 1000);
}

#[test]
fn a_signal_under_load_drains_and_ends_with_0() {
    for (connections, depth) in [("1", "1"), ("50", "4"), ("300", "1")] {
        let mut server = Server::serve(TCP, &[]);
        let shape = ["--connections", connections, "--depth", depth, "--duration", "10m"];
        let load = server.load(&shape).spawn().unwrap();
        under_way(&mut server);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.ended().code(), Some(0));
        let line = failure(&load.wait_with_output().unwrap(), 1);
        assert!(line.starts_with("lab: connection ") && outstanding(&line) > 0, "{line}");
    }
}

#[test]
fn a_server_killed_under_load_is_reported_by_the_load() {
    let mut server = Server::serve(TCP, &[]);
    let load = server.load(&["--connections", "50", "--depth", "4", "--duration", "10m"]).spawn().unwrap();
    under_way(&mut server);
    server.signal(Signal::SIGKILL);
    let line = failure(&load.wait_with_output().unwrap(), 1);
    assert!((1..=200).contains(&outstanding(&line)), "{line}");
}

#[test]
fn output_that_cannot_be_written_is_one_line() {
    for arguments in [&["serve", "--listen", TCP][..], &["doctor"], &["--help"], &["--version"]] {
        let mut command = lab(arguments);
        command.stdout(File::options().write(true).open("/dev/full").unwrap());
        let line = failure(&command.output().unwrap(), 1);
        assert!(line.contains("no space left on device"), "{line}");
    }
}

#[test]
fn a_reader_that_goes_after_the_first_line_does_not_stop_the_server() {
    let mut child = lab(&["serve", "--listen", TCP]).spawn().unwrap();
    let mut line = String::new();
    // The pipe is closed at the end of this statement.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on ").unwrap();
    let load = ["load", "--connect", address, "--json", "--rate", "1000", "--duration", "100ms"];
    // 100 requests are measured after those of the warm-up.
    assert_eq!(report(&output(&load))["requests"], 100);
    support::signal(child.id(), Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_place_without_permission_is_one_line() {
    let directory = path("unwritable");
    fs::create_dir(&directory).unwrap();
    // The program, where a user without rights can reach it.
    let program = directory.join("lab");
    fs::copy(env!("CARGO_BIN_EXE_lab"), &program).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    let socket = directory.join("socket");
    let mut places = vec![socket.to_str().unwrap()];
    let lowest_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if lowest_free.is_ok_and(|port| port.trim().parse::<u16>().is_ok_and(|port| port > 80)) {
        places.push("127.0.0.1:80");
    }
    for place in places {
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", place]).stdin(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let line = failure(&command.output().unwrap(), 1);
        assert_eq!(line, format!("lab: listen on {place}: permission denied"));
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_full_queue_of_connections_is_one_line() {
    let path = path("full.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let unix = lab(&["load", "--connect", path.to_str().unwrap(), "--connections", "9"]).spawn().unwrap();
    let listener = TcpListener::bind(TCP).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tcp = lab(&["load", "--connect", &address, "--connections", "9"]).spawn().unwrap();
    for load in [unix, tcp] {
        let line = failure(&load.wait_with_output().unwrap(), 1);
        assert!(line.contains(" of 9): connection timed out"), "{line}");
    }
    fs::remove_file(path).unwrap();
}

/// A connection that sends one frame and wants it back.
struct Client(TcpStream);

impl Client {
    const FRAME: [u8; 12] = *b"\0\0\0\x08linkpoll";

    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self(stream)
    }

    fn ask(&mut self) {
        self.0.write_all(&Self::FRAME).unwrap();
    }

    /// Whether the reply is there.
    fn is_answered(&mut self) -> bool {
        let mut reply = [0; 12];
        match self.0.read(&mut reply) {
            Ok(length) => {
                assert_eq!(reply[..length], Self::FRAME, "a wrong reply");
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                false
            }
        }
    }
}

#[test]
fn a_server_without_descriptors_serves_who_it_has_and_goes_on_when_some_leave() {
    for trigger in ["lt", "et"] {
        let mut command = Command::new("sh");
        let limited = r#"ulimit -Sn 64 && ulimit -Hn 64 && exec "$0" "$@""#;
        command.args(["-c", limited, env!("CARGO_BIN_EXE_lab")]);
        command.args(["serve", "--control", "--listen", TCP, "--trigger", trigger, "--loops", "2"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Server::start(command);
        let mut waiting: Vec<Client> = (0..200).map(|_| Client::connect(&server.address)).collect();
        waiting.iter_mut().for_each(Client::ask);
        let mut served = Vec::new();
        let collect = |served: &mut Vec<Client>, waiting: &mut Vec<Client>, wanted: usize| {
            eventually("those are served", || {
                served.extend(waiting.extract_if(.., Client::is_answered));
                served.len() >= wanted
            });
        };
        collect(&mut served, &mut waiting, 40);
        // For as many as it wrongly serves beyond its limit.
        std::thread::sleep(Duration::from_millis(300));
        collect(&mut served, &mut waiting, 40);
        assert!(served.len() < 64, "{} of 200 with 64 descriptors", served.len());
        for _ in 0..10 {
            // Those it has are served while it has no descriptor for the others.
            served.iter_mut().for_each(Client::ask);
            let (mut asked, mut answered) = (std::mem::take(&mut served), Vec::new());
            let all = asked.len();
            collect(&mut answered, &mut asked, all);
            served = answered;
        }
        // It says so; a line is there before the time in which it looks is over, and is waited for.
        let mut said = String::new();
        BufReader::new(server.child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("lab: out of file descriptors") && said.contains("is 64"), "{said}");
        while !waiting.is_empty() {
            served.clear();
            collect(&mut served, &mut waiting, 1);
        }
        server.signal(Signal::SIGTERM);
        assert_eq!(server.ended().code(), Some(0));
    }
}
