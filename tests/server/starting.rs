//! What goes wrong while a server is started is told, and leaves nothing behind.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use linkpoll::driver::epoll::{Epoll, EpollOptions};
use linkpoll::net::{Accept, Address, Server};
use linkpoll::reactor::Placement;
use linkpoll_conformance::isolated;

use crate::client::{Client, any_port, echo, until};

/// Waits until so many loops run in this process. A thread that was joined may still be listed for a moment.
fn until_loops(n: usize) {
    until(&format!("{n} loops"), || loops() == n);
}

/// The threads of loops in this process.
fn loops() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("linkpoll-")).count()
}

/// A port that is in use is an error and leaves no thread, whoever uses it: also another server that shares its port
/// among its own loops.
#[test]
fn a_port_in_use_is_an_error_and_leaves_no_thread() {
    isolated(module_path!(), "a_port_in_use_is_an_error_and_leaves_no_thread", || {
        let ways = [Accept::EachLoop, Accept::OneLoop(Placement::RoundRobin)];
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = Address::Tcp(other.local_addr().expect("an address"));
        for (accept, loops_wanted) in ways.into_iter().flat_map(|accept| [(accept, 1), (accept, 3)]) {
            let refused = Server::builder().loops(loops_wanted).accept(accept).bind(&taken, echo);
            assert_eq!(refused.expect_err("in use").kind(), ErrorKind::AddrInUse);
            until_loops(0);
        }
        for (accept, loops_wanted) in ways.into_iter().flat_map(|accept| [(accept, 1), (accept, 3)]) {
            let first = Server::builder().loops(loops_wanted).accept(accept).bind(&any_port(), echo);
            let first = first.expect("a server");
            for (accept, loops_wanted) in ways.into_iter().flat_map(|accept| [(accept, 1), (accept, 3)]) {
                let refused =
                    Server::builder().loops(loops_wanted).accept(accept).bind(first.address(), echo);
                assert_eq!(refused.expect_err("in use").kind(), ErrorKind::AddrInUse, "{accept:?}");
            }
            until_loops(loops_wanted);
            assert!(Client::connect(first.address()).echoes(b"undisturbed"));
        }
    });
}

/// With too little memory for one block to receive into, a server would accept and never receive: it does not start.
#[test]
fn too_little_memory_is_an_error() {
    let little = |_: usize| Epoll::new(EpollOptions { memory: (256 << 10) - 1, ..EpollOptions::default() });
    let error = Server::builder().loops(1).bind_with(&any_port(), echo, little).expect_err("too little");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// An error of the factory is the error of `bind`, and a panic is one, too. Loops that were made already end.
#[test]
fn a_factorys_failure_reaches_bind() {
    isolated(module_path!(), "a_factorys_failure_reaches_bind", || {
        let make = |index: usize| match index {
            2 => Err(io::Error::new(ErrorKind::Unsupported, "not on this machine")),
            _ => Epoll::new(EpollOptions::default()),
        };
        let error = Server::builder().loops(3).bind_with(&any_port(), echo, make).expect_err("no driver");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Unsupported, "not on this machine")
        );
        until_loops(0);
        let panics = |_: usize| -> io::Result<Epoll> { std::panic::resume_unwind(Box::new("on purpose")) };
        assert!(Server::builder().loops(2).bind_with(&any_port(), echo, panics).is_err());
        until_loops(0);
    });
}

/// When the second loop cannot listen the first, which already does, is stopped.
#[test]
fn a_loop_that_listens_already_is_stopped_when_another_cannot() {
    isolated(module_path!(), "a_loop_that_listens_already_is_stopped_when_another_cannot", || {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
        let mut refused = 0;
        // With few descriptors left setting up fails at one point after another.
        let free = u64::try_from(lowest_free_descriptor()).expect("a descriptor");
        for limit in free..free + 40 {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("the limit can be lowered");
            let server = Server::builder().loops(3).bind(&Address::Tcp(port), echo);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit can be raised");
            if server.is_ok() {
                break;
            }
            refused += 1;
            until_loops(0);
            assert!(TcpStream::connect(port).is_err(), "somebody listens at a limit of {limit} descriptors");
        }
        assert!((6..40).contains(&refused), "{refused} points");
    });
}

/// A server that has ended has given every descriptor back, and so has one that could not start.
#[test]
fn no_descriptor_is_left_behind() {
    isolated(module_path!(), "no_descriptor_is_left_behind", || {
        let descriptors =
            || std::fs::read_dir("/proc/self/fd").expect("the descriptors of this process").count();
        let before = descriptors();
        for accept in [Accept::EachLoop, Accept::OneLoop(Placement::RoundRobin)] {
            let server = Server::builder().loops(3).accept(accept).bind(&any_port(), echo).expect("a server");
            let refused = Server::builder().loops(3).accept(accept).bind(server.address(), echo);
            assert_eq!(refused.expect_err("in use").kind(), ErrorKind::AddrInUse);
            let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(server.address())).collect();
            assert!(clients.iter_mut().all(|client| client.echoes(b"there")));
            drop(clients);
            server.stopper().stop();
            server.join().expect("an orderly end");
            assert_eq!(descriptors(), before, "{accept:?}");
        }
    });
}

fn lowest_free_descriptor() -> i32 {
    std::fs::File::open("/dev/null").expect("a device").as_raw_fd()
}
