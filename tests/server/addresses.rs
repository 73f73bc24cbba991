//! Servers that listen at more than one address.

use std::io::ErrorKind;

use linkpoll::net::{Accept, Address};
use linkpoll::reactor::Placement;

use crate::client::{Client, any_port, echo, path};
use crate::drivers::Server;

/// A port and a path are served by the same loops. Each loop listens at the port, and what is accepted there stays; what is
/// accepted at the path is given to all.
#[test]
fn a_port_and_a_path_are_served_by_the_same_loops() {
    for (accept, listeners) in [(Accept::EachLoop, 3), (Accept::OneLoop(Placement::RoundRobin), 1)] {
        let path = path("also");
        let server = Server::builder().loops(3).accept(accept).also_at(&Address::Unix(path.clone()));
        let server = server.bind(&any_port(), echo).expect("a server");
        assert_eq!(server.addresses().len(), 2);
        assert_eq!(server.addresses()[0], *server.address());
        assert_eq!(server.addresses()[1], Address::Unix(path.clone()));
        let clients: Vec<_> =
            (0..12).map(|number| Client::connect(&server.addresses()[number % 2])).collect();
        for mut client in clients {
            assert!(client.echoes(b"there"));
        }
        let counted: Vec<Vec<u64>> = server
            .usage()
            .iter()
            .map(|usage| usage.listeners.iter().map(|it| it.accepted.get()).collect())
            .collect();
        assert_eq!(counted[0].len(), 2, "the first loop listens at both");
        assert_eq!(counted.iter().filter(|each| !each.is_empty()).count(), listeners);
        assert_eq!(counted[0][1], 6, "{counted:?}");
        assert_eq!(counted.iter().filter_map(|each| each.first()).sum::<u64>(), 6, "{counted:?}");
        let opened: Vec<_> = server.usage().iter().map(|usage| usage.metrics.opened.get()).collect();
        assert!(opened.iter().all(|opened| *opened >= 2), "the path's were given to all: {opened:?}");
        let stays = |loop_: usize| opened[loop_] == counted[loop_][0] + 2;
        assert!(accept != Accept::EachLoop || (0..3).all(stays), "{opened:?} of {counted:?}");
        drop(server);
        assert!(!path.exists(), "the file goes with the server");
    }
}

/// When one of the addresses cannot be had there is no server, and nothing is left of the others.
#[test]
fn one_address_in_use_is_an_error_and_leaves_nothing_of_the_others() {
    let taken = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    for loops in [1, 2] {
        let path = path("others");
        let unix = Address::Unix(path.clone());
        let builder = Server::builder().loops(loops);
        let refused = builder.clone().also_at(taken.address()).bind(&unix, echo).expect_err("in use");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert!(!path.exists(), "a file is left");
        let refused = builder.also_at(&unix).bind(taken.address(), echo).expect_err("in use");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert!(!path.exists(), "a file is left");
        let server = Server::builder().loops(loops).bind(&unix, echo).expect("the path is free");
        assert!(Client::connect(server.address()).echoes(b"there"));
    }
    assert!(Client::connect(taken.address()).echoes(b"there"), "the first one is undisturbed");
}
