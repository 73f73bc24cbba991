//! Batched system calls over real sockets: how many there are, and what becomes of each entry of a batch.
#![cfg(feature = "batch")]

#[expect(dead_code, reason = "of a process that is watched; here the process is this one")]
mod kernel;
#[path = "support/skip.rs"]
mod skip;

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::epoll::{Epoll, EpollOptions, Kernel, ReceiveEntry, SendEntry, Socket};
use linkpoll::driver::{Driver as _, Event, Key, SystemCalls};
use linkpoll::net::Address;
use linkpoll_conformance::{isolated, pattern};
use linkpoll_experiments::batch::{Aio, Batched, Engine, LARGEST_BATCH, Uring, driver};
use nix::sys::socket::{setsockopt, sockopt};

const PATIENCE: Duration = Duration::from_secs(60);

/// A connected pair: a peer that blocks, and a socket that does not.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("a socket");
    let (near, _) = listener.accept().expect("a connection");
    near.set_nonblocking(true).expect("an option of sockets");
    peer.set_nodelay(true).expect("an option of sockets");
    (peer, near)
}

fn reset(peer: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&peer, sockopt::Linger, &linger).expect("an option of sockets");
}

/// Waits until a socket has something to tell.
fn until_ready(socket: &TcpStream) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1), "the peer's act arrives");
}

/// What a peer does before its socket is received from, and what that must answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Writes,
    WritesMuch,
    IsSilent,
    Ends,
    Resets,
}

const ROOM: usize = 64;
const ACTS: [Act; 5] = [Act::Writes, Act::WritesMuch, Act::IsSilent, Act::Ends, Act::Resets];

fn act(act: Act, mut peer: TcpStream) -> Option<TcpStream> {
    match act {
        Act::Writes => peer.write_all(b"bytes").expect("room"),
        Act::WritesMuch => peer.write_all(&pattern(0, 3 * ROOM)).expect("room"),
        Act::IsSilent => {}
        Act::Ends => peer.shutdown(Shutdown::Write).expect("it is connected"),
        Act::Resets => {
            reset(peer);
            return None;
        }
    }
    Some(peer)
}

fn is_as_expected(act: Act, result: &io::Result<usize>, room: &[u8]) -> bool {
    match (act, result) {
        (Act::Writes, Ok(5)) => &room[..5] == b"bytes",
        (Act::WritesMuch, Ok(ROOM)) => room == pattern(0, ROOM),
        (Act::IsSilent, Err(error)) => error.kind() == ErrorKind::WouldBlock,
        (Act::Ends, Ok(0)) => true,
        (Act::Resets, Err(error)) => error.kind() == ErrorKind::ConnectionReset,
        _ => false,
    }
}

/// Every kind of answer, at every place of a batch, with an entry that cannot be executed at every place, too: each
/// entry gets its own answer, and nobody else's.
fn each_entry_is_answered_by_itself<E: Engine>() {
    let calls = SystemCalls::default();
    let bad = OpenOptions::new().write(true).open("/dev/null").expect("it is there");
    for first in 0..ACTS.len() {
        for bad_at in 0..=ACTS.len() {
            let mut kernel = Batched::<E>::new(8).expect("this kernel has the engine");
            let acts: Vec<Act> = (0..ACTS.len()).map(|at| ACTS[(first + at) % ACTS.len()]).collect();
            let mut peers = Vec::new();
            let mut sockets = Vec::new();
            for each in &acts {
                let (peer, near) = pair();
                peers.push(act(*each, peer));
                if *each != Act::IsSilent {
                    until_ready(&near);
                }
                sockets.push(near);
            }
            let mut rooms = vec![[0; ROOM]; ACTS.len() + 1];
            let mut fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            fds.insert(bad_at, bad.as_fd());
            let entries = fds.iter().zip(&mut rooms).zip(0..);
            let mut entries: Vec<_> =
                entries.map(|((fd, room), at)| ReceiveEntry::new(Key::new(at, 1), *fd, room)).collect();
            kernel.receive_all(&calls, &mut entries);
            let mut results: Vec<_> = entries.into_iter().map(ReceiveEntry::into_result).collect();
            let refused = results.remove(bad_at);
            rooms.remove(bad_at);
            assert!(
                refused.is_err_and(|error| error.kind() != ErrorKind::WouldBlock),
                "a file that cannot be read"
            );
            for ((act, result), room) in acts.iter().zip(&results).zip(&rooms) {
                assert!(
                    is_as_expected(*act, result, room),
                    "{act:?} of {acts:?}, bad at {bad_at}: {result:?}"
                );
            }
            assert!(kernel.broken().is_none(), "{:?}", kernel.broken());
        }
    }
}

#[test]
fn each_entry_of_io_uring_is_answered_by_itself() {
    each_entry_is_answered_by_itself::<Uring>();
}

#[test]
fn each_entry_of_aio_is_answered_by_itself() {
    each_entry_is_answered_by_itself::<Aio>();
}

/// Sends in a batch: whole, in pieces, in part where there is little room, and to a peer that is gone, which raises no
/// signal even where signals kill.
fn each_send_is_answered_by_itself<E: Engine>() {
    let calls = SystemCalls::default();
    let mut kernel = Batched::<E>::new(8).expect("this kernel has the engine");
    let (gone, to_gone) = pair();
    reset(gone);
    until_ready(&to_gone);
    assert!((&to_gone).read(&mut [0]).is_err(), "the reset is told once");
    let (mut whole, to_whole) = pair();
    let (mut pieces, to_pieces) = pair();
    let (mut slow, to_slow) = pair();
    let one = |bytes: Vec<u8>| Chain::from(Segment::from(bytes));
    let mut many = Chain::new();
    (0..200).for_each(|at| many.push(Segment::from(pattern(at * 10, 10))));
    let chains = [one(pattern(0, 100)), one(pattern(0, 5000)), many, one(pattern(0, 64 << 20))];
    let sockets = [&to_gone, &to_whole, &to_pieces, &to_slow];
    for turn in 0..sockets.len() {
        // The one that is gone at each place; the others send again what they have sent.
        let order: Vec<usize> = (0..sockets.len()).map(|at| (at + turn) % sockets.len()).collect();
        let mut entries: Vec<_> = order
            .iter()
            .map(|at| {
                SendEntry::new(
                    Key::new(u32::try_from(*at).expect("few"), 1),
                    sockets[*at].as_fd(),
                    &chains[*at],
                )
            })
            .collect();
        kernel.send_all(&calls, &mut entries);
        for (at, entry) in order.iter().zip(entries) {
            let (key, result) = entry.into_result();
            assert_eq!(key.slot() as usize, *at);
            match at {
                0 => assert!(result.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)),
                1 => {
                    assert_eq!(result.expect("there is room"), 5000);
                    let mut bytes = vec![0; 5000];
                    whole.read_exact(&mut bytes).expect("they were sent");
                    assert!(bytes == pattern(0, 5000), "other bytes");
                }
                2 => {
                    let n = result.expect("there is room");
                    assert!(n > 0 && n <= 2000);
                    let mut bytes = vec![0; n];
                    pieces.read_exact(&mut bytes).expect("they were sent");
                    assert!(bytes == pattern(0, n), "other bytes");
                }
                _ if turn == 0 => {
                    let n = result.expect("there is some room");
                    assert!(n < 64 << 20, "{n} bytes are more than any socket takes");
                    slow.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
                    let mut bytes = vec![0; n];
                    slow.read_exact(&mut bytes).expect("they were sent");
                    assert!(bytes == pattern(0, n), "other bytes");
                }
                _ => drop(result),
            }
        }
    }
    assert!(kernel.broken().is_none(), "{:?}", kernel.broken());
}

/// Runs a test in a process in which a broken pipe kills.
fn where_signals_kill(name: &str, body: fn()) {
    isolated(module_path!(), name, || {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        #[expect(unsafe_code, reason = "the way signals are handled is the process's")]
        // SAFETY: the default handling calls no code of ours.
        unsafe { sigaction(Signal::SIGPIPE, &default) }.expect("a signal that can be handled");
        body();
    });
}

#[test]
fn each_send_of_io_uring_is_answered_by_itself() {
    where_signals_kill(
        "each_send_of_io_uring_is_answered_by_itself",
        each_send_is_answered_by_itself::<Uring>,
    );
}

#[test]
fn each_send_of_aio_is_answered_by_itself() {
    where_signals_kill("each_send_of_aio_is_answered_by_itself", each_send_is_answered_by_itself::<Aio>);
}

/// One turn: receives everything that is ready, answers each connection, and goes on until nothing is left to tell.
fn turn<E: Engine>(driver: &mut Epoll<Batched<E>>) -> usize {
    driver.wait(Some(PATIENCE)).expect("it can wait");
    let mut answered = 0;
    while let Some(event) = driver.next() {
        match event {
            Event::Received(key, segment) => {
                driver.send(key, segment.into(), None);
                answered += 1;
            }
            Event::Sent(..) => {}
            other => panic!("{other:?}"),
        }
    }
    answered
}

/// A driver with connections, their peers, and duplicates of the connections to look at.
fn connected<E: Engine>(n: usize) -> (Epoll<Batched<E>>, Vec<TcpStream>, Vec<TcpStream>) {
    let mut driver = driver::<E>(EpollOptions::default(), LARGEST_BATCH).expect("this kernel has the engine");
    let mut peers = Vec::new();
    let mut duplicates = Vec::new();
    for slot in 0..n {
        let (peer, near) = pair();
        duplicates.push(near.try_clone().expect("a duplicate"));
        let peer_address = Address::Tcp(near.peer_addr().expect("it is connected"));
        let socket = Socket { fd: OwnedFd::from(near), peer: Box::new(peer_address) };
        driver.attach(Key::new(u32::try_from(slot).expect("few"), 1), socket).expect("it can be watched");
        peers.push(peer);
    }
    (driver, peers, duplicates)
}

/// The bar: a turn that receives from 64 ready connections and answers them makes at most three system calls, by its own
/// count and by the kernel's.
fn a_turn_makes_three_calls<E: Engine>(name: &str) {
    const CONNECTIONS: usize = 64;
    const TURNS: usize = 5;
    let (to_test, from_loop) = channel();
    let (to_loop, orders) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut driver, mut peers, duplicates) = connected::<E>(CONNECTIONS);
            let calls = driver.system_calls();
            // The first turns register files, and grow what grows.
            for round in 0..3 + TURNS {
                if round == 3 {
                    to_test.send(nix::unistd::gettid().as_raw()).expect("somebody listens");
                    orders.recv().expect("the counters are open");
                }
                peers.iter_mut().for_each(|peer| peer.write_all(&pattern(round, 100)).expect("room"));
                duplicates.iter().for_each(until_ready);
                let before = [&calls.wait, &calls.receive, &calls.send, &calls.control].map(|it| it.get());
                let answered = turn(&mut driver);
                let after = [&calls.wait, &calls.receive, &calls.send, &calls.control].map(|it| it.get());
                let made: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
                assert_eq!(answered, CONNECTIONS, "a turn that serves all");
                assert_eq!(made, [1, 1, 1, 0], "wait, receive, send, control");
                for peer in &mut peers {
                    let mut bytes = [0; 100];
                    peer.read_exact(&mut bytes).expect("the answer");
                    assert!(bytes[..] == pattern(round, 100), "other bytes");
                }
            }
            to_test.send(0).expect("somebody listens");
            // Until the counter was read.
            let _ = orders.recv();
        });
        let thread = from_loop.recv().expect("the loop is up");
        // What the test itself calls on that thread is not among these: it writes with write and reads with read.
        let numbers = [
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            libc::SYS_epoll_ctl,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_io_submit,
            libc::SYS_io_getevents,
            libc::SYS_readv,
            libc::SYS_sendmsg,
            libc::SYS_madvise,
            libc::SYS_mmap,
        ];
        let tracepoint = kernel::tracepoint();
        let counter = tracepoint.and_then(|point| {
            kernel::Counter::open(point, thread, &numbers)
                .map_err(|error| format!("perf_event_open: {error}"))
        });
        to_loop.send(()).expect("the loop waits");
        from_loop.recv().expect("the loop has done its turns");
        match counter {
            Ok(mut counter) => assert_eq!(counter.read(), 3 * TURNS as u64, "calls by the kernel's count"),
            Err(reason) => skip::skip(&format!("batch::{name}"), &reason),
        }
        drop(to_loop);
    });
}

#[test]
fn a_turn_on_io_uring_makes_three_calls() {
    a_turn_makes_three_calls::<Uring>("a_turn_on_io_uring_makes_three_calls");
}

#[test]
fn a_turn_on_aio_makes_three_calls() {
    a_turn_makes_three_calls::<Aio>("a_turn_on_aio_makes_three_calls");
}

/// A registered file is open until it is unregistered: closing must reach the peer at once.
#[test]
fn a_registered_connection_is_closed_at_once() {
    let (mut driver, mut peers, duplicates) = connected::<Uring>(4);
    drop(duplicates);
    for round in 0..3 {
        peers.iter_mut().for_each(|peer| peer.write_all(&pattern(round, 10)).expect("room"));
        turn(&mut driver);
    }
    driver.close(Key::new(1, 1));
    let detached = driver.detach(Key::new(2, 1)).expect("it is there");
    drop(detached);
    for at in [1, 2] {
        peers[at].set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        let started = Instant::now();
        let mut rest = Vec::new();
        peers[at].read_to_end(&mut rest).expect("the end");
        assert!(started.elapsed() < PATIENCE / 2 && rest.len() == 30, "closed late");
    }
}
