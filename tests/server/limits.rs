//! What peers and circumstances can cost: memory of peers that never read, descriptors that run out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::conn::{Handle, Marks};
use linkpoll::service::{Flow, Handler, Io, MakeHandler, Peer};
use linkpoll_conformance::isolated;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::{Client, addresses, any_port, echo, until};
use crate::drivers::{Server, most_lent};

/// Resident memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("figures of this process");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// What each greedy peer offers, and how many there are.
const OFFERED: usize = 64 << 20;
const PEERS: usize = 20;
/// What one of them may cost, beside what is lent for it.
const MOST: usize = 2 << 20;

/// Writes requests for as long as the server takes them, but no more than [`OFFERED`]. Answers how many bytes it took.
fn flood(client: &mut Client) -> usize {
    let request = [&1000_u32.to_be_bytes()[..], &[1; 1000]].concat().repeat(64);
    client.stream.set_nonblocking(true).expect("an option of sockets");
    let mut written = 0;
    let mut stalled = Instant::now();
    while written < OFFERED && stalled.elapsed() < Duration::from_millis(300) {
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

/// Lets 20 peers offer 64 MiB each, and read nothing. They may cost 2 MiB each, and a polite one is served meanwhile.
fn endure_greedy_peers(
    make: impl MakeHandler + Clone,
    name: &str,
    polite: impl Fn(&Server),
    afterwards: impl Fn(&Server),
) {
    for address in addresses(name) {
        let server = Server::builder().loops(1).bind(&address, make.clone()).expect("a server");
        polite(&server);
        let before = resident();
        let mut greedy: Vec<Client> = (0..PEERS).map(|_| Client::connect(server.address())).collect();
        let taken = thread::scope(|scope| {
            let floods: Vec<_> = greedy.iter_mut().map(|client| scope.spawn(|| flood(client))).collect();
            floods.into_iter().map(|flood| flood.join().expect("a peer that writes")).max()
        });
        assert!(taken < Some(OFFERED / 2), "{taken:?} bytes were taken from a peer that never reads");
        let grown = resident().saturating_sub(before);
        let used = server.usage()[0].metrics.pool.in_use.get();
        let most = PEERS * (MOST + most_lent());
        assert!(grown < most, "{grown} bytes for {PEERS} peers");
        assert!(used < most as u64, "{used} bytes of the pool for {PEERS} peers");
        polite(&server);
        drop(greedy);
        polite(&server);
        afterwards(&server);
    }
}

fn all_are_gone(server: &Server) {
    until("they are gone", || server.usage()[0].metrics.connections() == 0);
}

/// Requests whose replies are never read.
#[test]
fn peers_that_never_read_cost_bounded_memory() {
    isolated(module_path!(), "peers_that_never_read_cost_bounded_memory", || {
        let polite = |server: &Server| assert!(Client::connect(server.address()).echoes(b"served"));
        endure_greedy_peers(echo, "greedy", polite, all_are_gone);
    });
}

/// A handler that does not ask whether it is congested answers each call with a little more than it got. Congestion
/// keeps it from being called, so it, too, costs bounded memory.
#[test]
fn a_handler_that_never_asks_for_room_costs_bounded_memory() {
    #[derive(Clone)]
    struct Heedless;
    impl Handler for Heedless {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            let (input, output) = io.split();
            while !input.is_empty() {
                let piece = input.slice(input.len().min(1000)).expect("as many are there");
                if let Err(error) = output.write(&piece).and_then(|()| output.write(b"!")) {
                    return error.into();
                }
            }
            Flow::Continue
        }
    }
    isolated(module_path!(), "a_handler_that_never_asks_for_room_costs_bounded_memory", || {
        let polite = |server: &Server| {
            let mut client = Client::connect(server.address());
            client.write(b"served");
            client.stream.read_exact(&mut [0; 7]).expect("an answer");
        };
        endure_greedy_peers(|_: &Peer| Heedless, "heedless", polite, all_are_gone);
    });
}

/// A handler that leaves everything unread costs its marks' worth of memory.
#[test]
fn a_handler_that_never_reads_costs_bounded_memory() {
    #[derive(Clone)]
    struct Deaf;
    impl Handler for Deaf {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            match io.output().write(b"heard") {
                Ok(()) => Flow::Continue,
                Err(error) => error.into(),
            }
        }
    }
    isolated(module_path!(), "a_handler_that_never_reads_costs_bounded_memory", || {
        let polite = |server: &Server| {
            let mut client = Client::connect(server.address());
            client.write(b"hello");
            client.stream.read_exact(&mut [0; 5]).expect("an answer");
        };
        // Bytes that they sent before they went wait for the handler: only the read limit ends that.
        let stop = |server: &Server| server.stopper().stop_now();
        endure_greedy_peers(|_: &Peer| Deaf, "deaf", polite, stop);
    });
}

/// The mark of unread bytes keeps no message from becoming whole, and a handler that reads after all gets the rest.
#[test]
fn the_mark_of_unread_bytes_stops_nothing_that_is_wanted() {
    let builder = Server::builder().loops(1).unread_marks(Marks { high: 1000, low: 100 });
    let server = builder.clone().bind(&any_port(), echo).expect("a server");
    let mut client = Client::connect(server.address());
    let message = vec![7; 16 << 20];
    thread::scope(|scope| {
        let mut sender = client.stream.try_clone().expect("a descriptor");
        let message = &message;
        scope.spawn(move || {
            sender.write_all(&(16_u32 << 20).to_be_bytes()).expect("it is taken");
            sender.write_all(message).expect("it is taken");
        });
        assert!(client.reply() == *message);
    });

    /// Reads nothing until it is woken.
    struct Late(Sender<Handle>, bool);
    impl Handler for Late {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            if self.1 {
                let n = io.input().len();
                io.input().skip(n).expect("as many are there");
            }
            Flow::Continue
        }

        fn open(&mut self, io: &mut Io<'_>) -> Flow {
            self.0.send(io.handle()).expect("the test listens");
            Flow::Continue
        }

        fn woken(&mut self, io: &mut Io<'_>) -> Flow {
            self.1 = true;
            self.data(io)
        }
    }
    let (tell, told) = channel();
    let make = move |_: &Peer| Late(tell.clone(), false);
    let server = builder.bind(&any_port(), make).expect("a server");
    let metrics = &server.usage()[0].metrics;
    let mut client = Client::connect(server.address());
    let handle = told.recv().expect("it is opened");
    let sender = thread::spawn(move || {
        client.write(&vec![7; 16 << 20]);
        client
    });
    until("it is not received from", || metrics.pauses.get() == 1);
    assert!(metrics.received.get() < 1 << 20);
    handle.wake();
    drop(sender.join().expect("everything is taken"));
    until("its end is seen", || metrics.closed_by.peer_ended.get() == 1);
    assert_eq!(metrics.received.get(), 16 << 20);
}

/// When descriptors run out the server does not spin, and serves those that wait when there are descriptors again;
/// three times in a row (V-2, A-44). Broken by a listener that is not rested again in a later episode, or not resumed.
#[test]
fn a_server_survives_running_out_of_descriptors_three_times() {
    isolated(module_path!(), "a_server_survives_running_out_of_descriptors_three_times", || {
        // Set before there is a server: the kernel may note the limit when an accept begins to wait.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
        setrlimit(Resource::RLIMIT_NOFILE, 128, hard).expect("the limit can be set");
        let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
        let mut first = Client::connect(server.address());
        assert!(first.echoes(b"before"));
        let usage = &server.usage()[0];
        for episode in 1..=3 {
            let accepts = usage.system_calls.accept.get();
            let waits = usage.system_calls.wait.get();
            let rests = usage.metrics.accept_rests.get();
            let (stuck, others) = connect_while_out_of_descriptors(&server);
            until("the listener rests", || usage.metrics.accept_rests.get() > rests);
            thread::sleep(Duration::from_millis(350));
            let accepts = usage.system_calls.accept.get() - accepts;
            assert!(accepts < 16, "{accepts} tries to accept in episode {episode}");
            let waits = usage.system_calls.wait.get() - waits;
            assert!(waits < 64, "{waits} waits in episode {episode}");
            assert!(first.echoes(b"meanwhile"));
            drop(others);
            for stream in stuck {
                assert!(Client::new(stream).echoes(b"after"), "episode {episode}");
            }
        }
    });
}

/// Connects three clients such that no descriptor is left for the server's ends; answers those that are in the way, too.
fn connect_while_out_of_descriptors(server: &Server) -> (Vec<std::net::TcpStream>, Vec<std::fs::File>) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
    use std::os::fd::AsRawFd as _;
    let linkpoll::net::Address::Tcp(std::net::SocketAddr::V4(to)) = server.address() else {
        panic!("not an address of IPv4")
    };
    let make =
        |_| socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let sockets: Vec<_> = (0..3).map(make).collect();
    let others = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let connected = sockets.into_iter().map(|fd| {
        connect(fd.as_raw_fd(), &SockaddrIn::from(*to)).expect("somebody listens");
        fd.into()
    });
    (connected.collect(), others)
}
