//! What peers and circumstances can cost: memory of peers that never read, descriptors that run out.

use std::io::{ErrorKind, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::net::Server;
use linkpoll_conformance::isolated;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::{Client, addresses, any_port, echo, until};

/// Resident memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("figures of this process");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// Writes requests for as long as the server takes them, but no more than 64 MiB. Answers how many bytes it took.
fn flood(client: &mut Client) -> usize {
    const MOST: usize = 64 << 20;
    let request = [&1000_u32.to_be_bytes()[..], &[1; 1000]].concat().repeat(64);
    client.stream.set_nonblocking(true).expect("an option of sockets");
    let mut written = 0;
    let mut stalled = Instant::now();
    while written < MOST && stalled.elapsed() < Duration::from_millis(300) {
        // A write may end anywhere; the next goes on there.
        match client.stream.write(&request[written % request.len()..]) {
            Ok(n) => {
                written += n;
                stalled = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    written
}

/// 20 peers that ask and ask and never read cost bounded memory, and others are served meanwhile.
#[test]
fn peers_that_never_read_cost_bounded_memory() {
    isolated(module_path!(), "peers_that_never_read_cost_bounded_memory", || {
        for address in addresses("greedy") {
            let server = Server::builder().loops(1).bind(&address, echo).expect("a server");
            let mut polite = Client::connect(server.address());
            assert!(polite.echoes(b"before"));
            let before = resident();
            let mut greedy: Vec<Client> = (0..20).map(|_| Client::connect(server.address())).collect();
            let taken = thread::scope(|scope| {
                let floods: Vec<_> = greedy.iter_mut().map(|client| scope.spawn(|| flood(client))).collect();
                floods.into_iter().map(|flood| flood.join().expect("a peer that writes")).max()
            });
            assert!(taken < Some(32 << 20), "{taken:?} bytes were taken from a peer that never reads");
            let grown = resident().saturating_sub(before);
            assert!(grown < 40 << 20, "{grown} bytes for 20 peers");
            assert!(polite.echoes(b"meanwhile"));
            drop(greedy);
            until("they are gone", || server.usage()[0].metrics.connections() == 1);
            assert!(polite.echoes(b"after"));
        }
    });
}

/// When descriptors run out the server does not spin, and serves those that wait when there are descriptors again;
/// three times in a row.
#[test]
fn a_server_survives_running_out_of_descriptors_three_times() {
    isolated(module_path!(), "a_server_survives_running_out_of_descriptors_three_times", || {
        let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
        let mut first = Client::connect(server.address());
        assert!(first.echoes(b"before"));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
        let usage = &server.usage()[0];
        for episode in 1..=3 {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit can be raised");
            let accepts = usage.system_calls.accept.get();
            let rests = usage.metrics.accept_rests.get();
            // The limit is lowered once the clients have their sockets; those that are accepted sooner are served.
            let stuck: Vec<std::net::TcpStream> = connect_while_out_of_descriptors(&server, hard);
            until("the listener rests", || usage.metrics.accept_rests.get() > rests);
            thread::sleep(Duration::from_millis(350));
            let accepts = usage.system_calls.accept.get() - accepts;
            assert!(accepts < 16, "{accepts} tries to accept in episode {episode}");
            assert!(first.echoes(b"meanwhile"));
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit can be raised");
            for stream in stuck {
                assert!(Client::new(stream).echoes(b"after"), "episode {episode}");
            }
        }
    });
}

/// Connects three clients such that no descriptor is left for the server's ends.
fn connect_while_out_of_descriptors(server: &Server, hard: u64) -> Vec<std::net::TcpStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
    use std::os::fd::AsRawFd as _;
    let linkpoll::net::Address::Tcp(std::net::SocketAddr::V4(to)) = server.address() else {
        panic!("not an address of IPv4")
    };
    let make =
        |_| socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let sockets: Vec<_> = (0..3).map(make).collect();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).expect("the limit can be lowered");
    let connected = sockets.into_iter().map(|fd| {
        connect(fd.as_raw_fd(), &SockaddrIn::from(*to)).expect("somebody listens");
        fd.into()
    });
    connected.collect()
}
