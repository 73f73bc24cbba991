//! Connections come to loops as the policy says.

use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use linkpoll::net::{Accept, Address};
use linkpoll::reactor::Placement;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::client::{Client, any_port, echo, until};
use crate::drivers::Server;

fn server(loops: usize, accept: Accept) -> Server {
    Server::builder().loops(loops).accept(accept).bind(&any_port(), echo).expect("a server")
}

/// Connections that have been answered, so that they are where they belong.
fn clients(server: &Server, n: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..n).map(|_| Client::connect(server.address())).collect();
    assert!(clients.iter_mut().all(|client| client.echoes(b"there")));
    clients
}

fn present(server: &Server) -> Vec<u64> {
    server.usage().iter().map(|usage| usage.metrics.connections()).collect()
}

/// Each loop has its turn.
#[test]
fn round_robin_gives_each_loop_its_turn() {
    let server = server(3, Accept::OneLoop(Placement::RoundRobin));
    let _clients = clients(&server, 30);
    assert_eq!(present(&server), [10, 10, 10]);
}

/// The loop with the fewest connections gets the next, also when connections have gone, and in a burst that no loop
/// has taken in yet.
#[test]
fn least_connections_fills_up_what_has_gone() {
    let server = server(3, Accept::OneLoop(Placement::LeastConnections));
    let mut first = clients(&server, 9);
    assert_eq!(present(&server), [3, 3, 3]);
    // All of one loop go: connections were given in turn.
    let gone: Vec<Client> = [6, 3, 0].into_iter().map(|index| first.remove(index)).collect();
    drop(gone);
    until("they are gone", || present(&server).iter().sum::<u64>() == 6);
    assert!(present(&server).contains(&0), "{:?}", present(&server));
    let _second = clients(&server, 3);
    assert_eq!(present(&server), [3, 3, 3]);
}

/// Connections of one host share a loop, and hosts are spread.
#[test]
fn by_address_keeps_a_host_together() {
    let server = server(3, Accept::OneLoop(Placement::ByAddress));
    let mut used = [0; 3];
    let mut all = Vec::new();
    for host in 1..=20 {
        let before = present(&server);
        for _ in 0..3 {
            let mut client = connect_from(host, server.address());
            assert!(client.echoes(b"there"));
            all.push(client);
        }
        let grown: Vec<u64> = present(&server).iter().zip(before).map(|(now, before)| now - before).collect();
        let chosen = grown.iter().position(|n| *n == 3);
        used[chosen.unwrap_or_else(|| panic!("three of one host went to {grown:?}"))] += 1;
    }
    assert!(used.iter().all(|hosts| *hosts > 0), "20 hosts went to {used:?}");
}

/// Connects from 127.0.0.`host`.
fn connect_from(host: u8, to: &Address) -> Client {
    let Address::Tcp(std::net::SocketAddr::V4(to)) = to else { panic!("not an address of IPv4: {to}") };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, host, 0)).expect("an address of the loopback interface");
    connect(fd.as_raw_fd(), &SockaddrIn::from(*to)).expect("somebody listens");
    Client::new(TcpStream::from(fd))
}

/// Where every loop listens, every loop gets some.
#[test]
fn every_listening_loop_gets_some() {
    let server = server(2, Accept::EachLoop);
    let _clients = clients(&server, 100);
    let present = present(&server);
    assert_eq!(present.iter().sum::<u64>(), 100);
    assert!(present.iter().all(|n| *n >= 20), "{present:?}");
}
