//! Servers that are replaced while they are in use.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::net::{Address, Server};
use linkpoll::reactor::{LoopOptions, Spin};
use linkpoll::service::{CallError, Client, ClientOptions};
use linkpoll_shm::driver::StatisticsGroup;
use linkpoll_shm::handshake;
use linkpoll_shm::session::{Received, Room, Session};
use linkpoll_shm::{ShmDriver, ShmOptions};

use crate::bed::{Path, loops};
use crate::calling::{Bytes, echo};

const CLIENTS: usize = 3;
const DEPTH: usize = 8;
const RESTARTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server lets its connections finish; half of it is the clients'.
const DRAIN: Duration = Duration::from_secs(120);

/// What has become of one client's calls.
#[derive(Default)]
struct Fates {
    answered: u64,
    /// Sent, and then the connection ended.
    unknown: u64,
    unsent: u64,
}

/// Calls until it is told to stop, over whichever server there is. Says after each connection that it has had an answer
/// on it.
fn client(
    path: &Path,
    spin: Spin,
    stop: &mpsc::Receiver<()>,
    served: &mpsc::Sender<usize>,
    own: usize,
) -> Fates {
    let loops = loops(&ShmOptions::default(), spin);
    let mut fates = Fates::default();
    let mut number = 0_u64;
    let stopped = || matches!(stop.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    while !stopped() {
        let dialled =
            Client::dial(&loops.dialer(), vec![path.address()], Bytes, ClientOptions::default()).wait();
        let Ok(client) = dialled else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut told = false;
        'connection: while !stopped() {
            let calls: Vec<_> = (0..DEPTH)
                .map(|_| {
                    number += 1;
                    (client.call(number.to_le_bytes().to_vec()), number.to_le_bytes().to_vec())
                })
                .collect();
            let mut left = false;
            for (call, request) in calls {
                match call.wait_for(PATIENCE) {
                    Ok(reply) => {
                        assert_eq!(reply, request);
                        fates.answered += 1;
                    }
                    Err(error) if error.is_unsent() => {
                        fates.unsent += 1;
                        left = true;
                    }
                    Err(CallError::Closed(_)) => {
                        fates.unknown += 1;
                        left = true;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            if !std::mem::replace(&mut told, true) {
                served.send(own).expect("somebody counts");
            }
            if left {
                break 'connection;
            }
        }
    }
    loops.stopper().stop_now();
    loops.join().expect("loops end");
    fates
}

/// Waits until each client has had an answer from the present server.
fn all_served(served: &mpsc::Receiver<usize>) {
    let mut seen = [false; CLIENTS];
    let deadline = Instant::now() + PATIENCE;
    while seen != [true; CLIENTS] {
        let left = deadline.saturating_duration_since(Instant::now());
        seen[served.recv_timeout(left).expect("every client is served")] = true;
    }
}

fn stop(server: Server) {
    server.stopper().stop();
    server.join().expect("the server ends");
}

fn replaced(name: &str, spin: Spin) {
    let path = Path::new(name);
    let options = || ShmOptions { statistics: StatisticsGroup::default(), ..ShmOptions::default() };
    let (served, counted) = mpsc::channel();
    let fates: Vec<Fates> = thread::scope(|scope| {
        let (stops, clients): (Vec<_>, Vec<_>) = (0..CLIENTS)
            .map(|own| {
                let (stop, stopped) = mpsc::channel();
                let (path, served) = (&path, served.clone());
                (stop, scope.spawn(move || client(path, spin, &stopped, &served, own)))
            })
            .unzip();
        for _ in 0..RESTARTS {
            let options = options();
            let behaviour =
                LoopOptions { spin, drain_limit: DRAIN, leave_limit: DRAIN, ..LoopOptions::default() };
            let shared = options.clone();
            let server = Server::builder()
                .loops(1)
                .options(behaviour)
                .bind_with(&path.address(), echo(), move |_| ShmDriver::new(shared.clone()))
                .expect("a server over shared memory");
            all_served(&counted);
            let begin = Instant::now();
            stop(server);
            assert!(begin.elapsed() < DRAIN / 2, "the clients have gone by themselves");
            let (_, sums) = options.statistics.sum();
            let failures = |name: &str| {
                name.starts_with("violation_") || name.ends_with("_gone") || name == "nobody_reads"
            };
            let failed: Vec<_> = sums.into_iter().filter(|(name, n)| *n > 0 && failures(name)).collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
        drop(stops);
        clients.into_iter().map(|client| client.join().expect("a client ends")).collect()
    });
    for fates in fates {
        assert!(fates.answered >= (RESTARTS * DEPTH) as u64 / 2);
        assert_eq!(fates.unknown, 0, "{} answered, {} not sent", fates.answered, fates.unsent);
    }
}

#[test]
fn a_server_that_is_replaced_costs_no_call_whose_fate_is_unknown() {
    replaced("replaced", Spin::Never);
    replaced("replaced-looking", Spin::Adaptive);
}

/// A client that takes no notice: it gets its end after half of the drain time.
#[test]
fn who_does_not_leave_is_not_waited_for() {
    let path = Path::new("stays");
    let behaviour = LoopOptions { drain_limit: Duration::from_millis(200), ..LoopOptions::default() };
    let server = Server::builder()
        .loops(1)
        .options(behaviour)
        .bind_with(&path.address(), echo(), |_| ShmDriver::new(ShmOptions::default()))
        .expect("a server over shared memory");
    let options = handshake::Options { step: PATIENCE, ..handshake::Options::default() };
    let Address::Unix(place) = path.address() else { unreachable!("it is a path") };
    let established = handshake::connect(place, &options).expect("a session");
    let mut session = Session::new(established).expect("a session");
    let opened = || server.usage()[0].metrics.opened.get();
    let deadline = Instant::now() + PATIENCE;
    while opened() == 0 {
        assert!(Instant::now() < deadline, "the server has the session");
        thread::yield_now();
    }
    stop(server);
    let _ = session.listen().expect("frames");
    assert!(session.is_leaving(), "it was asked");
    let mut first = vec![0; 64 << 10];
    let mut room = Room { first: &mut first, second: &mut [] };
    let end = session.receive(&mut room, usize::MAX).expect("the end in order");
    assert!(matches!(end, Received::End), "{end:?}");
}
