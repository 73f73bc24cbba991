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
        let listening: Vec<_> = server.usage().iter().flat_map(|usage| &usage.listeners).collect();
        assert_eq!(listening.len(), listeners);
        assert_eq!(listening.iter().map(|listener| listener.accepted.get()).sum::<u64>(), 9);
        let all: LoopMetrics<u64> = server.usage().iter().map(|usage| usage.metrics.snapshot()).sum();
        assert_eq!((all.opened, all.connections(), all.refused), (9, 9, 0));
    }
}

/// A loop that is turned by hand counts each thing that happens to it, and nothing else.
#[test]
fn every_counter_counts_exactly() {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{Sender, channel};

    use linkpoll::conn::Handle;
    use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket};
    use linkpoll::reactor::{LoopOptions, Maker, Reactor};
    use linkpoll::service::{Flow, Handler, Io};

    struct Obedient(Sender<Handle>);
    impl Handler for Obedient {
        fn open(&mut self, io: &mut Io<'_>) -> Flow {
            self.0.send(io.handle()).expect("the test listens");
            Flow::Continue
        }

        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            let (input, output) = io.split();
            let order = input.slice(input.len()).expect("as many are there");
            output.append(order.clone()).expect("there is memory");
            io.count_messages(2);
            match order[0] {
                b'p' => io.pause(),
                b'a' => return Flow::Abort("as told".into()),
                b'!' => std::panic::resume_unwind(Box::new(())),
                _ => {}
            }
            Flow::Continue
        }
    }

    let (tell, told) = channel();
    let maker: Maker = Box::new(move |_: &Peer| Box::new(Obedient(tell.clone())));
    let driver = Epoll::new(EpollOptions::default()).expect("a driver");
    let mut reactor = Reactor::new(driver, LoopOptions::default(), Default::default(), maker);
    let (metrics, calls) = (reactor.handle().metrics, reactor.system_calls());
    let mut peers: Vec<UnixStream> = (0..4)
        .map(|_| {
            let (ours, theirs) = UnixStream::pair().expect("two sockets");
            theirs.set_nonblocking(true).expect("an option of sockets");
            let peer = Box::new(Address::Unix(Default::default()));
            reactor.attach(Socket { fd: theirs.into(), peer });
            ours
        })
        .collect();
    let handles: Vec<Handle> = told.try_iter().collect();
    let mut turn = |what: &str| {
        reactor.turn().unwrap_or_else(|error| panic!("{what}: {error}"));
    };
    let begun = (metrics.snapshot(), calls.snapshot());
    assert_eq!((begun.0.opened, begun.0.placed, begun.0.connections(), begun.1.control), (4, 4, 4, 4));

    peers[0].write_all(b"echo").expect("it is taken");
    turn("an echo");
    let now = metrics.snapshot().since(&begun.0);
    assert_eq!((now.received, now.sent, now.messages, now.turns), (4, 4, 2, 1));
    let now = calls.snapshot().since(&begun.1);
    assert_eq!((now.wait, now.receive, now.send, now.control, now.total()), (1, 1, 1, 0, 3));

    // Wakes of one handle are one message; a loop that is awake is not rung for.
    for handle in &handles[..2] {
        handle.wake();
        handle.wake();
    }
    turn("two wakes");
    let now = metrics.snapshot();
    assert_eq!((now.mail, now.wakes, now.coalesced()), (2, 0, 2));

    peers[1].write_all(b"pause").expect("it is taken");
    turn("a pause");
    assert_eq!(metrics.pauses.get(), 1);

    peers[2].write_all(b"abort").expect("it is taken");
    peers[3].write_all(b"!").expect("it is taken");
    turn("two that end");
    let now = metrics.snapshot();
    assert_eq!((now.panics, now.closed, now.connections()), (1, 2, 2));
    assert_eq!((now.closed_by.aborted, now.closed_by.panicked), (1, 1));
    assert_eq!((now.received, now.sent, now.messages), (15, 9, 8));

    let pool = now.pool;
    assert_eq!(pool.limit, 1 << 30);
    assert!(pool.in_use > 0 && pool.in_use <= pool.mapped && pool.mapped < 2 << 20, "{pool}");
}
