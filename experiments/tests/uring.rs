//! What is peculiar to rings, on real ones.
#![cfg(feature = "uring")]
#![expect(unsafe_code, reason = "a filter of system calls is installed")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/skip.rs"]
mod skip;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::epoll::Socket;
use linkpoll::driver::{Driver as _, Event, Key, Lending, Token};
use linkpoll::net::Address;
use linkpoll_conformance::isolated;
use linkpoll_experiments::uring::{Uring, UringOptions};
use linkpoll_experiments::{Transport, choose};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use skip::skip;

const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> UringOptions {
    UringOptions { memory: 16 << 20, ..UringOptions::default() }
}

fn driver(options: UringOptions) -> Uring {
    Uring::new(options).expect("a ring can be had")
}

fn attach(driver: &mut Uring, slot: u32) -> (Key, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, address) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = Key::new(slot, 1);
    let socket = Socket { fd: OwnedFd::from(socket), peer: Box::new(Address::Tcp(address)) };
    driver.attach(key, socket).unwrap();
    (key, peer)
}

/// Turns until `told` says that it has seen enough.
fn until(driver: &mut Uring, mut told: impl FnMut(Event<Socket>) -> bool) {
    let limit = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < limit, "given up; {:?}", driver.statistics());
        driver.wait(Some(Duration::from_millis(50))).unwrap();
        let mut enough = false;
        while let Some(event) = driver.next() {
            enough |= told(event);
        }
        if enough {
            return;
        }
    }
}

/// The ring's descriptor becomes readable, so a ring can be waited for together with other things.
#[test]
fn the_descriptor_becomes_readable() {
    let mut driver = driver(options());
    let (_key, mut peer) = attach(&mut driver, 0);
    // It is to be armed, which may find that there is something to be looked at first.
    loop {
        driver.wait(Some(Duration::ZERO)).unwrap();
        while driver.next().is_some() {}
        if driver.arm().is_none() {
            break;
        }
    }
    let readable = |driver: &Uring, timeout: u16| {
        poll(&mut [PollFd::new(driver.as_fd(), PollFlags::POLLIN)], PollTimeout::from(timeout)).unwrap() == 1
    };
    assert!(!readable(&driver, 0));
    peer.write_all(b"news").unwrap();
    assert!(readable(&driver, 20_000));
    until(&mut driver, |event| matches!(event, Event::Received(..)));
}

/// A large message is received into its block, each part behind the one before; what follows comes as usual.
#[test]
fn a_large_message_is_received_in_place() {
    const LEN: usize = 256 << 10;
    let mut driver = driver(options());
    let (key, mut peer) = attach(&mut driver, 0);
    for round in 1..=3 {
        peer.write_all(b"head").unwrap();
        until(&mut driver, |event| matches!(event, Event::Received(_, segment) if *segment == *b"head"));
        driver.want(key, LEN);
        let message: Vec<u8> = (0..LEN).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let (mut parts, mut sender) = (Vec::new(), peer.try_clone().unwrap());
        let expected = message.clone();
        let writer = std::thread::spawn(move || sender.write_all(&message).unwrap());
        until(&mut driver, |event| {
            let Event::Received(_, segment) = event else { panic!("{event:?}") };
            parts.push(segment);
            parts.iter().map(|part| part.len()).sum::<usize>() == LEN
        });
        writer.join().unwrap();
        for pair in parts.windows(2) {
            assert_eq!(pair[0].as_ptr().addr() + pair[0].len(), pair[1].as_ptr().addr(), "another block");
        }
        assert!(parts.iter().flat_map(|part| part.iter()).eq(&expected));
        assert!(driver.statistics().fills >= round, "{:?}", driver.statistics());
    }
}

/// Completions that do not fit into their queue are not lost, and operations that ended by that are armed again.
#[test]
fn completions_that_do_not_fit_are_not_lost() {
    const CONNECTIONS: u32 = 20;
    const ROUNDS: usize = 20;
    let mut driver = driver(UringOptions { submissions: 2, completions: 2, ..options() });
    let mut peers: Vec<_> = (0..CONNECTIONS).map(|slot| attach(&mut driver, slot).1).collect();
    let mut received = 0;
    for round in 1..=ROUNDS {
        peers.iter_mut().for_each(|peer| peer.write_all(b"0123456789").unwrap());
        until(&mut driver, |event| {
            if let Event::Received(_, segment) = event {
                received += segment.len();
            }
            received == 10 * peers.len() * round
        });
    }
    assert!(driver.statistics().overflows > 0, "{:?}", driver.statistics());
}

/// A connection that goes on and on is armed seldom: receives are not ended without need.
#[test]
fn receives_are_seldom_armed_again() {
    let mut driver = driver(options());
    let (key, mut peer) = attach(&mut driver, 0);
    for _ in 0..1000 {
        peer.write_all(&[7; 1024]).unwrap();
        let mut received = 0;
        until(&mut driver, |event| {
            if let Event::Received(_, segment) = event {
                received += segment.len();
            }
            received == 1024
        });
        driver.send(key, Segment::copy_of(&[8; 1024]).into(), None);
        until(&mut driver, |event| matches!(event, Event::Sent(_, 1024)));
        peer.read_exact(&mut [0; 1024]).unwrap();
    }
    let arms = driver.statistics().arms;
    // One for each half MiB, and the first.
    assert!(arms <= 4, "{arms} arms for 1000 messages of 1 KiB");
}

/// Memory is lent, is given back with a notification only, and a connection whose loans are copied stops lending.
#[test]
fn lending_stops_where_it_does_not_pay() {
    let mut driver = driver(UringOptions { lend_from: Some(16 << 10), ..options() });
    let (key, mut peer) = attach(&mut driver, 0);
    let (mut released, mut sent) = (0, 0);
    for round in 1..=10 {
        driver.send(key, Segment::copy_of(&[5; 32 << 10]).into(), Some(Token(round)));
        let mut read = vec![0; 32 << 10];
        until(&mut driver, |event| {
            match event {
                Event::Sent(_, n) => sent += n,
                // The loopback interface copies.
                Event::Released(_, way) => {
                    assert_eq!(way, Lending::Copied);
                    released += 1;
                }
                _ => {}
            }
            if sent == 32 << 10 && released < round {
                // The peer's system answers at once when bytes are read.
                peer.set_nonblocking(true).unwrap();
                drop(peer.read(&mut []));
                peer.set_nonblocking(false).unwrap();
            }
            released == round
        });
        peer.read_exact(&mut read).unwrap();
        assert!(read.iter().all(|byte| *byte == 5));
    }
    let statistics = driver.statistics();
    assert_eq!((statistics.loans, statistics.copied, statistics.outstanding), (4, 4, 0), "{statistics:?}");
}

/// A socket that refuses loans, which fails with a notification all the same, is sent to by copy.
#[test]
fn a_socket_that_refuses_loans_is_sent_to_by_copy() {
    let mut driver = driver(UringOptions { lend_from: Some(1), ..options() });
    let (mut peer, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    // Said to be TCP, for Unix sockets are not even tried.
    let address = Box::new(Address::Tcp(([127, 0, 0, 1], 1).into()));
    let key = Key::new(0, 1);
    driver.attach(key, Socket { fd: OwnedFd::from(ours), peer: address }).unwrap();
    driver.send(key, Segment::copy_of(b"copied").into(), Some(Token(1)));
    until(&mut driver, |event| matches!(event, Event::Released(Token(1), Lending::Copied)));
    let mut read = [0; 6];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"copied");
    let statistics = driver.statistics();
    assert_eq!((statistics.loans, statistics.outstanding), (1, 0), "{statistics:?}");
}

/// A user who may lock no memory sends by copy.
#[test]
fn without_memory_to_lock_sends_are_copied() {
    const NAME: &str = "without_memory_to_lock_sends_are_copied";
    if !nix::unistd::geteuid().is_root() {
        return skip(&format!("uring::{NAME}"), "only root can become somebody who may lock no memory");
    }
    isolated(module_path!(), NAME, || {
        use nix::sys::resource::{Resource, setrlimit};
        let mut driver = driver(UringOptions { lend_from: Some(1), ..options() });
        let (key, mut peer) = attach(&mut driver, 0);
        setrlimit(Resource::RLIMIT_MEMLOCK, 4096, 4096).unwrap();
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        let whole = vec![3; 1 << 20];
        driver.send(key, Segment::copy_of(&whole).into(), Some(Token(1)));
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; 1 << 20];
            peer.read_exact(&mut read).unwrap();
            read
        });
        until(&mut driver, |event| matches!(event, Event::Released(Token(1), _)));
        assert!(reader.join().unwrap() == whole);
        assert_eq!(driver.statistics().outstanding, 0);
    });
}

/// A driver that is dropped ends its connections, also those with operations under way, and what it had received lives on.
#[test]
fn a_dropped_driver_ends_its_connections() {
    let mut driver = driver(options());
    let (_, mut idle) = attach(&mut driver, 0);
    let (key, mut stuck) = attach(&mut driver, 1);
    stuck.write_all(b"kept").unwrap();
    let mut kept = Chain::new();
    until(&mut driver, |event| {
        if let Event::Received(_, segment) = event {
            kept.push(segment);
        }
        kept.len() == 4
    });
    driver.send(key, Segment::copy_of(&vec![0; 16 << 20]).into(), Some(Token(1)));
    driver.wait(Some(Duration::ZERO)).unwrap();
    drop(driver);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let mut all = Vec::new();
    // It may be an orderly end or a reset; what matters is that there is one.
    drop(stuck.read_to_end(&mut all));
    assert!(all.len() < 16 << 20);
    assert_eq!(kept.front(), b"kept");
}

/// Where a filter forbids rings, the next transport is chosen, and the report says why.
#[test]
fn a_filter_of_system_calls_is_reported() {
    isolated(module_path!(), "a_filter_of_system_calls_is_reported", || {
        forbid_rings();
        let error = Transport::Uring.probe().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        let choice = choose(&[Transport::Uring, Transport::Epoll]).unwrap();
        assert_eq!(choice.transport, Transport::Epoll);
        assert_eq!(choice.to_string(), "transport: epoll; not uring: Operation not permitted (os error 1)");
        assert!(choose(&[Transport::Uring]).unwrap_err().to_string().starts_with("uring: "));
    });
}

/// seccomp(2): `io_uring_setup` fails with `EPERM` in this thread, as under the default filter of containers.
fn forbid_rings() {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const FAIL: u32 = 0x0005_0000;
    let call = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        filter(LOAD, 0, 0, 0),
        filter(JUMP_IF_EQUAL, 0, 1, call),
        filter(RETURN, 0, 0, FAIL | libc::EPERM.cast_unsigned()),
        filter(RETURN, 0, 0, ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: this flag takes no memory.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program outlives the call, which copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "a filter can be installed");
}
