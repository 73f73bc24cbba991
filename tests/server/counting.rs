//! What a server counts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use linkpoll::net::{Address, Server};
use linkpoll::service::{Frame, Framed, Peer};

/// Bytes received and bytes sent are counted whichever way they go: at once, or when there is room.
#[test]
fn every_byte_received_and_sent_is_counted() {
    let address = Address::resolve("127.0.0.1:0").expect("an address");
    let server = Server::builder().loops(1).bind(&address, |_: &Peer| {
        Framed::new(Frame::default(), |request, reply| {
            for piece in request.pieces() {
                reply.write(piece)?;
            }
            Ok(())
        })
    });
    let server = server.expect("the server starts");
    let mut client = TcpStream::connect(server.address().to_string()).expect("somebody listens");
    let mut expected = 0;
    for size in [0_u32, 1, 1000, 3_000_000] {
        let mut message = size.to_be_bytes().to_vec();
        message.resize(4 + size as usize, 9);
        let mut reply = vec![0; message.len()];
        std::thread::scope(|scope| {
            let mut sender = client.try_clone().expect("a descriptor");
            let message = &message;
            scope.spawn(move || sender.write_all(message).expect("it is taken"));
            client.read_exact(&mut reply).expect("it is answered");
        });
        assert_eq!(reply, message);
        expected += message.len() as u64;
    }
    drop(client);
    let usage = server.usage()[0].clone();
    server.stopper().stop();
    server.join().expect("the server ends");
    assert_eq!((usage.metrics.received.get(), usage.metrics.sent.get()), (expected, expected));
    assert_eq!((usage.metrics.opened.get(), usage.metrics.closed.get()), (1, 1));
}

/// A listener counts what it accepts, wherever the connections go; snapshots of the loops add up.
#[test]
fn listeners_count_what_they_accept() {
    use crate::client::{Client, any_port, echo};
    use linkpoll::net::Accept;
    use linkpoll::reactor::{LoopMetrics, Placement};

    for (accept, listeners) in [(Accept::OneLoop(Placement::RoundRobin), 1), (Accept::EachLoop, 3)] {
        let server = Server::builder().loops(3).accept(accept).bind(&any_port(), echo).expect("a server");
        let mut clients: Vec<_> = (0..9).map(|_| Client::connect(server.address())).collect();
        assert!(clients.iter_mut().all(|client| client.echoes(b"there")));
        let listening: Vec<_> = server.usage().iter().filter_map(|usage| usage.listener.clone()).collect();
        assert_eq!(listening.len(), listeners);
        assert_eq!(listening.iter().map(|listener| listener.accepted.get()).sum::<u64>(), 9);
        let all: LoopMetrics<u64> = server.usage().iter().map(|usage| usage.metrics.snapshot()).sum();
        assert_eq!((all.opened, all.connections(), all.refused), (9, 9, 0));
    }
}
