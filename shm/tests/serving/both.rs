//! One loop that serves TCP and shared memory at once, with one service; and one loop that calls over both.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use linkpoll::driver::epoll::{Epoll, EpollOptions};
use linkpoll::driver::{Both, Side};
use linkpoll::net::{Accept, Address, Loops, Server};
use linkpoll::reactor::{Placement, Spin};
use linkpoll::service::{Call, Client, ClientOptions};
use linkpoll_shm::{ShmDriver, ShmOptions};

use crate::bed::Path;
use crate::calling::{Bytes, echo, pattern};

const PATIENCE: Duration = Duration::from_secs(60);
/// Calls of each client, and how many of them are under way at a time.
const CALLS: usize = 1000;
const DEPTH: usize = 100;

/// Ports go to epoll, paths to shared memory.
fn both() -> io::Result<Both<Epoll, ShmDriver>> {
    let (epoll, shm) = (Epoll::new(EpollOptions::default())?, ShmDriver::new(ShmOptions::default())?);
    Both::new(epoll, shm, Side::by_family)
}

fn any_port() -> Address {
    Address::Tcp(([127, 0, 0, 1], 0).into())
}

/// A server with so many loops at a port and at a path.
fn server(path: &Path, loops: usize, accept: Accept, spin: Spin) -> Server {
    let builder = Server::builder().loops(loops).accept(accept).spin(spin).also_at(&path.address());
    builder.bind_with(&any_port(), echo(), |_| both()).expect("a server")
}

fn loops(spin: Spin) -> Loops {
    Loops::builder().loops(1).spin(spin).start_with(|_| both()).expect("loops")
}

fn dial(loops: &Loops, address: &Address) -> Client<Bytes> {
    let dialling = Client::dial(&loops.dialer(), vec![address.clone()], Bytes, ClientOptions::default());
    dialling.wait().expect("a connection")
}

/// A client, its calls under way, and what they must be answered with.
type Caller = (Client<Bytes>, VecDeque<(Call<Vec<u8>>, Vec<u8>)>);

/// Calls of all clients in turn, many under way on each at any time.
fn call_all(callers: &mut [Caller]) {
    let answered = |(call, message): (Call<Vec<u8>>, Vec<u8>)| {
        assert!(call.wait_for(PATIENCE).expect("a reply") == message, "another reply");
    };
    for number in 0..CALLS {
        for (client, calls) in callers.iter_mut() {
            // One in a hundred is larger than a ring.
            let size = if number % 100 == 99 { 100_000 } else { number % 2000 };
            let message = pattern(size, number);
            calls.push_back((client.call(message.clone()), message));
            if calls.len() == DEPTH {
                calls.pop_front().into_iter().for_each(answered);
            }
        }
    }
    callers.iter_mut().flat_map(|(_, calls)| calls.drain(..)).for_each(answered);
}

fn serves_both(name: &str, spin: Spin) {
    let path = Path::new(name);
    let server = server(&path, 1, Accept::EachLoop, spin);
    assert_eq!(server.addresses()[1], path.address());
    let loops = loops(spin);
    let mut callers: Vec<Caller> = server
        .addresses()
        .iter()
        .flat_map(|address| [address, address])
        .map(|address| (dial(&loops, address), VecDeque::new()))
        .collect();
    call_all(&mut callers);
    let accepted: Vec<_> = server.usage()[0].listeners.iter().map(|it| it.accepted.get()).collect();
    assert_eq!(accepted, [2, 2], "connections at the port, and at the path");
    // A graceful stop says goodbye to both: no call that was made before is lost.
    let last: Vec<_> = callers.iter().map(|(client, _)| client.call(b"last".to_vec())).collect();
    for call in last {
        assert_eq!(call.wait_for(PATIENCE).expect("a reply"), b"last");
    }
    server.stopper().stop();
    server.join().expect("the server ends");
    for (client, _) in &callers {
        client.call(b"too late".to_vec()).wait_for(PATIENCE).expect_err("nobody serves");
    }
    drop(callers);
    loops.stopper().stop_now();
    loops.join().expect("loops end");
}

#[test]
fn a_sleeping_loop_serves_both_at_once() {
    serves_both("both-sleeping", Spin::Never);
}

#[test]
fn an_adaptive_loop_serves_both_at_once() {
    serves_both("both-adaptive", Spin::Adaptive);
}

#[test]
fn a_spinning_loop_serves_both_at_once() {
    serves_both("both-spinning", Spin::Always);
}

/// Several loops share the work of both: every loop listens at the port, and the first one gives sessions to the others.
#[test]
fn several_loops_serve_both_at_once() {
    for accept in [Accept::EachLoop, Accept::OneLoop(Placement::LeastConnections)] {
        let path = Path::new("both-several");
        let server = server(&path, 3, accept, Spin::Never);
        let loops = loops(Spin::Never);
        let mut callers: Vec<Caller> =
            (0..6).map(|_| (dial(&loops, &path.address()), VecDeque::new())).collect();
        callers.extend((0..6).map(|_| (dial(&loops, server.address()), VecDeque::new())));
        call_all(&mut callers);
        let accepted = |which: usize| -> u64 {
            server
                .usage()
                .iter()
                .filter_map(|usage| usage.listeners.get(which))
                .map(|it| it.accepted.get())
                .sum()
        };
        assert_eq!((accepted(0), accepted(1)), (6, 6), "{accept:?}");
        let least = server.usage().iter().map(|usage| usage.metrics.connections()).min();
        assert!(least >= Some(2), "each loop has two sessions at least ({accept:?}): {least:?}");
        drop(callers);
        loops.stopper().stop_now();
        loops.join().expect("loops end");
    }
}
