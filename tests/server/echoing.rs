//! Requests are answered, whatever the setup.

use std::thread;

use linkpoll::driver::epoll::Trigger;
use linkpoll::net::{Accept, Address};
use linkpoll::reactor::{Placement, Spin};

use crate::client::{Client, addresses, any_port, echo, path};
use crate::drivers::{Server, ServerBuilder};

const SIZES: [usize; 9] = [0, 1, 3, 100, 1024, 5000, 65_533, 70_000, 300_000];

fn serve_and_check(builder: &ServerBuilder, address: &Address, clients: usize) {
    let server = builder.clone().bind(address, echo).expect("a server");
    let address = server.address().clone();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(&address);
                for size in SIZES {
                    assert!(
                        client.echoes(&vec![u8::try_from(size % 251).expect("a byte"); size]),
                        "{size} bytes"
                    );
                }
                // Several at once are answered in order.
                (0..20).for_each(|index| client.request(&[index; 10]));
                assert!(
                    (0..20).all(|index| client.reply() == [index; 10]),
                    "replies in the order of requests"
                );
                client.end();
                assert!(client.read_to_end().is_empty());
            });
        }
    });
    server.stopper().stop();
    server.join().expect("an orderly end");
}

/// Either trigger with each spin policy answers over TCP and Unix sockets.
#[test]
fn every_trigger_and_spin_policy_answers() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        for spin in [Spin::Never, Spin::Once, Spin::Adaptive, Spin::Always] {
            for address in addresses(&format!("echo-{trigger:?}-{spin:?}")) {
                let builder = Server::builder().loops(2).trigger(trigger).spin(spin);
                serve_and_check(&builder, &address, 3);
            }
        }
    }
}

/// One to three loops with each way of accepting answer over TCP and Unix sockets.
#[test]
fn every_number_of_loops_and_way_of_accepting_answers() {
    let placements = [Placement::RoundRobin, Placement::LeastConnections, Placement::ByAddress];
    let ways: Vec<Accept> = placements.map(Accept::OneLoop).into_iter().chain([Accept::EachLoop]).collect();
    for loops in 1..=3 {
        for accept in &ways {
            for address in addresses(&format!("loops-{loops}-{accept:?}").replace(['(', ')'], "-")) {
                serve_and_check(&Server::builder().loops(loops).accept(*accept), &address, 3);
            }
        }
    }
}

/// 300 connections at a time are all answered, again and again.
#[test]
fn many_connections_are_answered() {
    for address in [any_port(), Address::Unix(path("many"))] {
        let server = Server::builder().loops(2).bind(&address, echo).expect("a server");
        let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(server.address())).collect();
        for round in 0..3 {
            clients.iter_mut().for_each(|client| client.request(&[round; 1000]));
            assert!(clients.iter_mut().all(|client| client.reply() == [round; 1000]));
        }
    }
}
