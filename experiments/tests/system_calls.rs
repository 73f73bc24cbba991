//! The counters of system calls that `lab run` prints are the driver's own. Here the kernel counts along.
//!
//! Only the thread of the event loop is compared: it alone makes the calls that the driver counts. While it sleeps in
//! its wait nothing is under way, so between two such moments the two counts must be equal, call for call, and by
//! kind. The other threads of the server are counted too: the one that answers `stats` reads once and writes once for
//! each question, and the others, which wait for a signal and for the end, do nothing at all.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod kernel;
#[path = "support/skip.rs"]
mod skip;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;

use serde_json::Value;

use kernel::Counter;
use skip::skip;
use support::{Server, eventually};

const RECEIVE: [libc::c_long; 3] = [libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_readv];
const SEND: [libc::c_long; 3] = [libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_writev];
#[cfg(target_arch = "x86_64")]
const WAIT: [libc::c_long; 4] =
    [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_io_uring_enter];
#[cfg(not(target_arch = "x86_64"))]
const WAIT: [libc::c_long; 3] = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_io_uring_enter];

/// Calls of the loop in a window, in the order wait, receive, send, other.
type Calls = [u64; 4];

/// The kernel's view of a server with one loop.
struct Watch {
    process: u32,
    event_loop: i32,
    /// Waits, receives, sends and all calls of the loop's thread.
    of_loop: [Counter; 4],
    control: i32,
    of_control: Counter,
    others: Vec<i32>,
    of_others: Vec<Counter>,
}

impl Watch {
    fn start(server: &Server, tracepoint: u64) -> std::io::Result<Self> {
        let process = server.child.id();
        let open = |thread, numbers: &[_]| Counter::open(tracepoint, thread, numbers);
        let threads = kernel::threads(process);
        let named = |wanted: &str| threads.iter().find(|(_, name)| name == wanted).unwrap().0;
        let (event_loop, control) = (named("linkpoll-0"), named("control"));
        let others = threads.iter().map(|(thread, _)| *thread);
        let others: Vec<i32> = others.filter(|thread| ![event_loop, control].contains(thread)).collect();
        Ok(Self {
            process,
            event_loop,
            of_loop: [
                open(event_loop, &WAIT)?,
                open(event_loop, &RECEIVE)?,
                open(event_loop, &SEND)?,
                open(event_loop, &[])?,
            ],
            control,
            of_control: open(control, &[])?,
            of_others: others.iter().map(|thread| open(*thread, &[])).collect::<Result<_, _>>()?,
            others,
        })
    }

    /// Calls of the loop so far, read while it sleeps.
    fn calls(&mut self) -> Calls {
        let [wait, receive, send, all] = self.of_loop.each_mut().map(Counter::read);
        [wait, receive, send, all - wait - receive - send]
    }

    /// Waits until the loop has nothing to do: it sleeps, and has made no call since it was seen asleep.
    fn rest(&mut self) {
        let mut before = None;
        eventually("the loop rests", || {
            let asleep = kernel::sleeps(self.process, self.event_loop);
            let now = Some(self.calls()).filter(|_| asleep);
            let rests = now.is_some() && now == before;
            before = now;
            rests
        });
    }

    /// Calls of the thread that answers, and of those that have nothing to do, read while they sleep.
    fn calls_of_others(&mut self) -> (u64, u64) {
        eventually("all other threads sleep", || {
            let mut all = self.others.iter().chain([&self.control]);
            all.all(|thread| kernel::sleeps(self.process, *thread))
        });
        (self.of_control.read(), self.of_others.iter_mut().map(Counter::read).sum())
    }
}

/// What one window came to.
#[derive(Debug)]
struct Window {
    requests: u64,
    counted: Calls,
    kernel: Calls,
    control: u64,
    others: u64,
}

fn counters(stats: &Value) -> Calls {
    ["wait", "receive", "send", "other"].map(|kind| stats["syscalls"][kind].as_u64().unwrap())
}

/// One round: `depth` requests on each connection, then all their replies, verified.
fn round(connections: &mut [TcpStream], depth: usize, number: usize) {
    let frame = |connection: usize, request: usize| {
        let mut frame = 1024_u32.to_be_bytes().to_vec();
        frame.extend((0..1024).map(|at| (at + 3 * connection + 5 * request + 7 * number).to_le_bytes()[0]));
        frame
    };
    let frames = |connection| (0..depth).flat_map(|request| frame(connection, request)).collect::<Vec<u8>>();
    for (index, connection) in connections.iter_mut().enumerate() {
        connection.write_all(&frames(index)).unwrap();
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        let mut replies = vec![0; depth * 1028];
        connection.read_exact(&mut replies).unwrap();
        assert!(replies == frames(index), "a wrong reply on connection {index}");
    }
}

/// Runs `rounds` on open connections and counts; a reason why nobody can, where the kernel does not say.
fn window(driver: &[&str], connections: usize, depth: usize, rounds: usize) -> Result<Window, String> {
    static TRACEPOINT: OnceLock<Result<u64, String>> = OnceLock::new();
    let tracepoint = TRACEPOINT.get_or_init(kernel::tracepoint).clone()?;
    let mut server = Server::serve("127.0.0.1:0", &[&["--loops", "1"], driver].concat());
    let open = |_| TcpStream::connect(&server.address).unwrap();
    let mut streams: Vec<TcpStream> = (0..connections).map(open).collect();
    // Connections are accepted, memory is mapped and threads have started before the window.
    round(&mut streams, depth, 0);
    server.stats();
    let opened = Watch::start(&server, tracepoint);
    let mut watch = opened.map_err(|error| format!("perf_event_open of raw_syscalls:sys_enter: {error}"))?;
    watch.rest();
    let (stats_before, kernel_before) = (server.stats(), watch.calls());
    let (control_before, others_before) = watch.calls_of_others();
    (1..=rounds).for_each(|number| round(&mut streams, depth, number));
    watch.rest();
    let (stats, kernel) = (server.stats(), watch.calls());
    let (control, others) = watch.calls_of_others();
    let since = |now: Calls, before: Calls| std::array::from_fn(|kind| now[kind] - before[kind]);
    Ok(Window {
        requests: stats["requests"].as_u64().unwrap() - stats_before["requests"].as_u64().unwrap(),
        counted: since(counters(&stats), counters(&stats_before)),
        kernel: since(kernel, kernel_before),
        control: control - control_before,
        others: others - others_before,
    })
}

/// Compares the counts for one shape with both triggers of the epoll driver.
fn compare(name: &str, connections: usize, depth: usize, rounds: usize, check: impl Fn(&Window)) {
    for trigger in ["lt", "et"] {
        compare_driver(name, &["--trigger", trigger], connections, depth, rounds, &check);
    }
}

fn compare_driver(
    name: &str,
    driver: &[&str],
    connections: usize,
    depth: usize,
    rounds: usize,
    check: impl Fn(&Window),
) {
    let window = match window(driver, connections, depth, rounds) {
        Ok(window) => window,
        Err(reason) => return skip(&format!("system_calls::{name}"), &reason),
    };
    println!("{driver:?}, {connections} x {depth}: {window:?}");
    assert_eq!(window.requests, (connections * depth * rounds) as u64);
    assert_eq!(window.counted, window.kernel, "{driver:?}: {window:?}");
    // The thread that answers has written one answer and reads again; nobody else has done anything.
    assert_eq!((window.control, window.others), (2, 0), "{driver:?}: {window:?}");
    check(&window);
}

/// At depth 1 each request costs one receive and one send, plus a share of a wait.
fn one_receive_and_one_send(window: &Window) {
    let [wait, receive, send, other] = window.kernel;
    assert_eq!((receive, send, other), (window.requests, window.requests, 0), "{window:?}");
    assert!((1..=window.requests).contains(&wait), "{window:?}");
}

#[test]
fn one_connection_of_depth_1() {
    compare("one_connection_of_depth_1", 1, 1, 500, |window| {
        one_receive_and_one_send(window);
        // Nobody else is ready, so each request has a wait of its own.
        assert_eq!(window.kernel[0], window.requests, "{window:?}");
    });
}

#[test]
fn fifty_connections_of_depth_1() {
    compare("fifty_connections_of_depth_1", 50, 1, 20, one_receive_and_one_send);
}

#[test]
fn requests_that_come_together_share_their_calls() {
    compare("requests_that_come_together_share_their_calls", 4, 16, 50, |window| {
        let [wait, receive, send, other] = window.kernel;
        // Sixteen requests leave their sender in one call, so at most 4 x 50 bursts of them are received, unless the
        // kernel cuts a burst; a receive is answered by one send, or by none where it ended in the middle of a frame.
        assert!(send <= receive && receive < window.requests, "{window:?}");
        assert!(wait <= receive && other == 0, "{window:?}");
    });
}

/// The uring driver enters the kernel at most once a turn, and calls it for nothing else.
#[cfg(feature = "uring")]
#[test]
fn a_ring_is_entered_and_nothing_else_is_called() {
    const NAME: &str = "a_ring_is_entered_and_nothing_else_is_called";
    let driver = ["--transport", "uring"];
    // Once to send the reply, which completes at once, and once to sleep.
    compare_driver(NAME, &driver, 1, 1, 500, |window| {
        assert!(window.kernel[0] <= 2 * window.requests, "{window:?}");
        assert_eq!(window.kernel[1..], [0; 3], "{window:?}");
    });
    for (connections, depth, rounds) in [(50, 1, 20), (4, 16, 50)] {
        compare_driver(NAME, &driver, connections, depth, rounds, |window| {
            // What comes one by one costs no more than it does with one connection.
            assert!(window.kernel[0] <= 2 * window.requests, "{window:?}");
            assert_eq!(window.kernel[1..], [0; 3], "{window:?}");
        });
    }
}
