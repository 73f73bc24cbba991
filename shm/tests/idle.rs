//! What a session costs that has nothing to say. A test of its own process: it looks at all mappings.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::SystemCalls;
use linkpoll::net::{Address, Loops, Server};
use linkpoll::reactor::Spin;
use linkpoll::service::{Flow, Handler, Io, Peer};
use linkpoll_shm::driver::StatisticsGroup;
use linkpoll_shm::handshake::{self, Doorbell};
use linkpoll_shm::{ShmDriver, ShmOptions};

/// The most bytes that a side may reserve for a session that is idle.
const MOST: usize = 192 << 10;
const SESSIONS: usize = 8;

struct Silent;

impl Handler for Silent {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let all = io.input().len();
        // It is there.
        let _ = io.input().skip(all);
        Flow::Continue
    }
}

/// Bytes of shared memory that this process has mapped, and how many mappings that are.
fn mapped() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our mappings");
    let shared = maps.lines().filter(|line| line.contains("/memfd:linkpoll"));
    shared.fold((0, 0), |(bytes, count), line| {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let address = |text| usize::from_str_radix(text, 16).expect("an address");
        (bytes + address(to) - address(from), count + 1)
    })
}

fn idle(doorbell: Doorbell) {
    let path = std::env::temp_dir().join(format!("linkpoll-shm-idle-{}.sock", std::process::id()));
    let mut options = ShmOptions::default();
    options.session.doorbell = doorbell;
    let address = Address::Unix(PathBuf::from(&path));
    let of_client = ShmOptions { statistics: StatisticsGroup::default(), ..options.clone() };
    let of_server = options;
    let server = Server::builder()
        .loops(1)
        // Looking for news must not keep a loop awake that has had none for long.
        .spin(Spin::Adaptive)
        .bind_with(&address, |_: &Peer| Silent, move |_| ShmDriver::new(of_server.clone()))
        .expect("a server");
    let loops = Loops::builder()
        .loops(1)
        .spin(Spin::Adaptive)
        .start_with(move |_| ShmDriver::new(of_client.clone()))
        .expect("loops");
    let dialer = loops.dialer();
    let handles: Vec<_> = (0..SESSIONS)
        .map(|_| dialer.dial(vec![address.clone()], |_: &Peer| Silent).wait().expect("a session"))
        .collect();
    for handle in &handles {
        let mut once = Chain::new();
        once.push(Segment::from(Bytes::from_static(b"once")));
        drop(handle.send(once));
    }

    let sides = [&server.usage()[0], &loops.usage()[0]];
    let counts = || sides.each_ref().map(|side| (side.system_calls.snapshot(), side.metrics.turns.get()));
    let deadline = Instant::now() + Duration::from_secs(60);
    while sides[0].metrics.received.get() < 4 * SESSIONS as u64 {
        assert!(Instant::now() < deadline, "{:?}", counts());
        thread::yield_now();
    }
    // A whole second without a turn and without a system call, once what was under way is over.
    loop {
        let before: [(SystemCalls<u64>, u64); 2] = counts();
        thread::sleep(Duration::from_secs(1));
        if counts() == before {
            break;
        }
        assert!(Instant::now() < deadline, "it is never quiet: {before:?}, then {:?}", counts());
    }
    let (bytes, count) = mapped();
    // In this process are both sides of each session, and each side maps its own region and the other's.
    assert_eq!(count, 4 * SESSIONS);
    assert!(bytes / count <= MOST, "{} bytes a side", bytes / count);

    // A thread that asks how the server is wakes it, and all of them are told of the same.
    let text = handshake::ask_statistics(&path, Duration::from_secs(60)).expect("statistics");
    assert!(text.lines().any(|line| line == format!("sessions_open {SESSIONS}")), "{text}");
    drop(handles);
    loops.stopper().stop_now();
    loops.join().expect("loops end");
    server.stopper().stop_now();
    server.join().expect("the server ends");
}

#[test]
fn an_idle_session_costs_no_wake_up_and_no_system_call_and_little_memory() {
    idle(Doorbell::Socket);
    idle(Doorbell::EventFd);
    assert_eq!(mapped().1, 0, "what sessions had mapped is given back");
}
