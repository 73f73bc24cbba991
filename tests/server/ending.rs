//! The ends of connections: half-closed, closed by either side, broken.

use std::sync::mpsc::channel;
use std::thread;

use linkpoll::buffer::Segment;
use linkpoll::conn::CloseReason;
use linkpoll::driver::epoll::Trigger;
use linkpoll::service::Flow;

use crate::client::{Client, PATIENCE, addresses, any_port, echo};
use crate::drivers::Server;
use crate::recorder::{Recorder, Told, usual};

/// A peer that ends its direction right behind a request gets its answer, 50 times of 50 (V-8). Broken by a loop that takes
/// the end of one direction for that of both.
#[test]
fn answers_reach_a_peer_that_has_ended_its_direction() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        for address in addresses(&format!("half-{trigger:?}")) {
            let server = Server::builder().loops(2).trigger(trigger).bind(&address, echo).expect("a server");
            for round in 0..50 {
                let mut client = Client::connect(server.address());
                client.request(&[round; 2000]);
                client.end();
                assert_eq!(client.reply(), [round; 2000], "round {round}");
                assert!(client.read_to_end().is_empty());
            }
        }
    }
}

/// So does one that is answered only after its end, with more than a socket takes in at once.
#[test]
fn a_large_answer_to_the_end_arrives_whole() {
    const LARGE: usize = 8 << 20;
    for address in addresses("late") {
        let (tell, told) = channel();
        let hook = |told: &Told, io: &mut linkpoll::service::Io<'_>| match told {
            Told::Eof => {
                io.output().append(Segment::from(vec![7; LARGE])).expect("no memory is needed");
                Flow::CloseWhenSent
            }
            _ => Flow::Continue,
        };
        let server = Server::builder().bind(&address, Recorder::maker(tell, hook)).expect("a server");
        let mut client = Client::connect(server.address());
        client.write(b"a question");
        client.end();
        assert!(client.read_to_end() == [7; LARGE], "not all of it");
        let why = told.iter().find_map(|told| if let Told::Closed(why) = told { Some(why) } else { None });
        assert!(matches!(why, Some(CloseReason::PeerEnded)), "{why:?}");
    }
}

/// Data, then the end, in this order and all of it: 10 writes of 5 KB and a close, on 100 connections in parallel.
#[test]
fn bytes_before_a_close_are_never_lost() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        for address in addresses(&format!("close-{trigger:?}")) {
            let (tell, told) = channel();
            let builder = Server::builder().loops(2).trigger(trigger);
            // Each connection says how much it has seen by the end it is told.
            let server = builder.bind(&address, Recorder::maker(tell, usual)).expect("a server");
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..25 {
                            let mut client = Client::connect(server.address());
                            (0..10).for_each(|_| client.write(&[5; 5000]));
                        }
                    });
                }
            });
            let (mut bytes, mut ends, mut closed) = (0, 0, 0);
            while closed < 100 {
                match told.recv_timeout(PATIENCE).expect("every connection is closed") {
                    Told::Data(n) => bytes += n,
                    Told::Eof => ends += 1,
                    Told::Closed(why) => {
                        assert!(matches!(why, CloseReason::PeerEnded), "{why}");
                        closed += 1;
                    }
                    _ => {}
                }
            }
            assert_eq!((bytes, ends), (100 * 10 * 5000, 100));
        }
    }
}

/// When the server closes first the peer gets everything that was written before, and then the end, even when the
/// server has not read all that the peer has sent.
#[test]
fn a_close_by_the_server_loses_no_answer() {
    for address in addresses("first") {
        let (tell, told) = channel();
        let hook = |told: &Told, io: &mut linkpoll::service::Io<'_>| match told {
            Told::Data(_) => {
                io.output().write(&[9; 100_000]).expect("memory");
                Flow::CloseWhenSent
            }
            _ => Flow::Continue,
        };
        let server = Server::builder().bind(&address, Recorder::maker(tell, hook)).expect("a server");
        for _ in 0..20 {
            let mut client = Client::connect(server.address());
            client.write(&[1; 200_000]);
            assert!(client.read_to_end() == [9; 100_000], "not all of it");
            drop(client);
            let why =
                told.iter().find_map(|told| if let Told::Closed(why) = told { Some(why) } else { None });
            assert!(matches!(why, Some(CloseReason::Finished)), "{why:?}");
        }
    }
}

/// A message over the limit ends its connection, and no other.
#[test]
fn a_message_over_the_limit_ends_its_connection() {
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let mut other = Client::connect(server.address());
    let mut client = Client::connect(server.address());
    assert!(client.echoes(b"before"));
    client.write(&[0xFF; 4]);
    assert!(client.is_closed());
    assert!(other.echoes(b"still there"));
    assert_eq!(server.usage()[0].metrics.connections(), 1);
}
