//! Peers that do what no friend does: it costs them their connection at most, and others do not notice.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::mpsc::channel;
use std::thread;

use linkpoll::buffer::SegmentWriter;
use linkpoll::conn::CloseReason;
use linkpoll::driver::epoll::Trigger;
use linkpoll::service::{Flow, Frame, Framed, Handler, HandlerError, Io, Payload, Peer};
use linkpoll::sync::{AtomicBool, Ordering};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};

use crate::client::{Client, any_port, echo, until};
use crate::drivers::Server;
use crate::recorder::{Recorder, Told, usual};

/// Two peers send empty messages as fast as they can. Another one's requests are answered meanwhile.
#[test]
fn a_flood_of_tiny_messages_starves_nobody() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        let server = Server::builder().loops(1).trigger(trigger).bind(&any_port(), echo).expect("a server");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let mut flooding = Client::connect(server.address()).stream;
                let mut replies = flooding.try_clone().expect("a descriptor");
                let over = &over;
                scope.spawn(move || {
                    let many = [0; 4 * 16_384];
                    // ORDERING: Relaxed: it only ends the flood.
                    while !over.load(Ordering::Relaxed) {
                        flooding.write_all(&many).expect("the server goes on receiving");
                    }
                    flooding.shutdown(std::net::Shutdown::Write).expect("it is open");
                });
                scope.spawn(move || {
                    let mut bytes = [1; 65_536];
                    loop {
                        match replies.read(&mut bytes).expect("replies") {
                            0 => break,
                            n => assert!(bytes[..n].iter().all(|byte| *byte == 0), "empty replies"),
                        }
                    }
                });
            }
            let served =
                || server.usage()[0].metrics.messages.get() + server.usage()[0].metrics.received.get();
            let mut polite = Client::connect(server.address());
            for round in 0..20 {
                let before = served();
                assert!(polite.echoes(&[round; 3000]), "it is served during a flood");
                until("the flood goes on", || served() > before + 3004);
            }
            // ORDERING: Relaxed: it only ends the flood.
            over.store(true, Ordering::Relaxed);
        });
        until("all have gone", || server.usage()[0].metrics.connections() <= 1);
    }
}

/// A peer that resets its connection in the middle of a large reply: its handler is told so, and nothing is kept.
#[test]
fn a_reset_in_the_middle_of_a_reply_ends_one_connection() {
    const LARGE: usize = 16 << 20;
    for trigger in [Trigger::Level, Trigger::Edge] {
        let (tell, told) = channel();
        let hook = |told: &Told, io: &mut Io<'_>| match told {
            Told::Data(_) => {
                io.output().write(&vec![7; LARGE]).expect("memory");
                Flow::Continue
            }
            _ => usual(told, io),
        };
        let server = Server::builder().loops(1).trigger(trigger);
        let server = server.bind(&any_port(), Recorder::maker(tell, hook)).expect("a server");
        let mut other = Client::connect(server.address());
        other.write(b"asks too");
        let mut client = Client::connect(server.address());
        client.write(b"asks");
        client.stream.read_exact(&mut vec![0; 100_000]).expect("the beginning of a reply");
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&client.stream, sockopt::Linger, &linger).expect("an option of sockets");
        drop(client);
        let why = told.iter().find_map(|it| if let Told::Closed(why) = it { Some(why) } else { None });
        let Some(CloseReason::Broken(error)) = &why else { panic!("{trigger:?}: {why:?}") };
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        let mut reply = vec![0; LARGE];
        other.stream.read_exact(&mut reply).expect("the other's reply");
        assert!(reply == vec![7; LARGE], "the other's reply is whole");
        let metrics = &server.usage()[0].metrics;
        assert_eq!((metrics.connections(), metrics.closed_by.broken.get()), (1, 1));
    }
}

/// A peer ends its direction in any state: before its first byte, within a header, within a payload, while it owes
/// nothing, while it does not read, while its handler is paused, and after the server has ended its own. What it is
/// owed arrives, its handler is told of the end once, and the connection is gone.
#[test]
fn a_peer_may_end_its_direction_in_any_state() {
    fn check(
        what: &str,
        trigger: Trigger,
        hook: fn(&Told, &mut Io<'_>) -> Flow,
        act: impl FnOnce(&mut Client),
    ) {
        let (tell, told) = channel();
        let builder = Server::builder().loops(1).trigger(trigger);
        let server = builder.bind(&any_port(), Recorder::maker(tell, hook)).expect("a server");
        let mut client = Client::connect(server.address());
        act(&mut client);
        drop(client);
        until(what, || server.usage()[0].metrics.closed.get() == 1);
        drop(server);
        let told: Vec<Told> = told.iter().collect();
        let ends = told.iter().filter(|told| matches!(told, Told::Eof)).count();
        let why: Vec<&Told> = told.iter().filter(|told| matches!(told, Told::Closed(_))).collect();
        assert_eq!(ends, 1, "{what}: {told:?}");
        assert!(
            matches!(why[..], [Told::Closed(CloseReason::PeerEnded | CloseReason::Finished)]),
            "{what}: {why:?}"
        );
        assert!(matches!(told.last(), Some(Told::Closed(_))), "{what}: the end is told last");
    }
    const OWED: usize = 8 << 20;
    fn owes(told: &Told, io: &mut Io<'_>) -> Flow {
        if matches!(told, Told::Data(_)) {
            io.output().write(&vec![3; OWED]).expect("memory");
        }
        usual(told, io)
    }
    fn pauses(told: &Told, io: &mut Io<'_>) -> Flow {
        if matches!(told, Told::Data(_)) {
            io.pause();
            let handle = io.handle();
            thread::spawn(move || {
                thread::yield_now();
                handle.resume();
            });
        }
        usual(told, io)
    }
    fn ends_first(told: &Told, io: &mut Io<'_>) -> Flow {
        if matches!(told, Told::Data(_)) {
            io.output().write(b"done").expect("memory");
            io.shutdown();
        }
        usual(told, io)
    }
    for trigger in [Trigger::Level, Trigger::Edge] {
        check("before the first byte", trigger, usual, |client| {
            client.end();
            assert!(client.read_to_end().is_empty());
        });
        check("while it is owed much", trigger, owes, |client| {
            client.write(b"asks");
            client.end();
            assert!(client.read_to_end() == vec![3; OWED], "all that it is owed");
        });
        check("while its handler is paused", trigger, pauses, |client| {
            client.write(b"asks");
            client.end();
            assert!(client.read_to_end().is_empty());
        });
        check("after the server has ended its own", trigger, ends_first, |client| {
            client.write(b"asks");
            assert_eq!(client.read_to_end(), b"done");
            client.end();
        });
        check("with the last byte unread by the peer", trigger, owes, |client| {
            client.write(b"asks");
            client.end();
            client.stream.read_exact(&mut vec![0; OWED - 1]).expect("nearly all of it");
            assert_eq!(client.read_to_end(), [3]);
        });
    }
    // Within a message: what came before is answered, and the rest is nothing.
    for cut in [1, 3, 4, 5, 103] {
        let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
        let mut client = Client::connect(server.address());
        client.request(b"whole");
        client.write(&[&[0, 0, 0, 100][..], &[1; 100]].concat()[..cut]);
        client.end();
        assert_eq!(client.reply(), b"whole");
        assert!(client.read_to_end().is_empty(), "nothing for {cut} bytes of a message");
        until("it is closed", || server.usage()[0].metrics.closed_by.peer_ended.get() == 1);
    }
}

type Answer = fn(Payload<'_>, &mut SegmentWriter) -> Result<(), HandlerError>;

/// Echoes when it is allowed to go on, so that a test can have bytes wait in the socket.
struct Gated {
    framed: Framed<Answer>,
    gate: std::sync::mpsc::Receiver<()>,
}

impl Handler for Gated {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        // A test that is over opens the gate for good.
        let _ = self.gate.recv();
        self.framed.data(io)
    }
}

/// Urgent bytes (tcp(7)) cut a receive short although more bytes are there; they are received all the same, whether
/// the socket is watched for states or for edges.
#[test]
fn urgent_bytes_do_not_stall_a_connection() {
    fn answer(request: Payload<'_>, reply: &mut SegmentWriter) -> Result<(), HandlerError> {
        request.pieces().try_for_each(|piece| reply.write(piece)).map_err(Into::into)
    }
    for trigger in [Trigger::Level, Trigger::Edge] {
        let (gates, opened) = channel();
        let make = move |_: &Peer| {
            let (open, gate) = channel();
            drop(gates.send(open));
            Gated { framed: Framed::new(Frame::default(), answer as Answer), gate }
        };
        let server = Server::builder().loops(1).trigger(trigger).bind(&any_port(), make).expect("a server");
        let mut client = Client::connect(server.address());
        let open = opened.recv().expect("a connection");
        client.request(b"first");
        // While the loop waits at the gate, everything else arrives.
        let message = [&1000_u32.to_be_bytes()[..], &[5; 1000]].concat();
        until("the first has arrived", || server.usage()[0].metrics.received.get() > 0);
        client.write(&message[..300]);
        let urgent =
            nix::sys::socket::send(std::os::fd::AsRawFd::as_raw_fd(&client.stream), b"!", MsgFlags::MSG_OOB);
        assert_eq!(urgent, Ok(1));
        client.write(&message[300..]);
        drop(open);
        assert_eq!(client.reply(), b"first");
        assert_eq!(client.reply(), [5; 1000], "{trigger:?}");
    }
}
