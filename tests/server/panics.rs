//! A handler that panics costs its own connection, and nothing else.

use std::sync::mpsc::{Receiver, channel};

use linkpoll::conn::CloseReason;
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{Client, PATIENCE, any_port, echo, until};
use crate::drivers::Server;
use crate::recorder::{Recorder, Told};

/// Panics without the message that a panic prints.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}

fn closed(told: &Receiver<Told>) -> CloseReason {
    loop {
        if let Told::Closed(why) = told.recv_timeout(PATIENCE).expect("the handler is told") {
            return why;
        }
    }
}

/// Serves with a handler that panics in one call, makes that call happen, and checks what comes of it.
fn check(call: &str, hook: fn(&Told, &mut Io<'_>) -> Flow, provoke: impl FnOnce(&mut Client, &Server)) {
    let (tell, told) = channel();
    let builder = Server::builder().loops(1);
    let server = builder.bind(&any_port(), Recorder::maker(tell, hook)).expect("a server");
    let mut client = Client::connect(server.address());
    provoke(&mut client, &server);
    assert!(matches!(closed(&told), CloseReason::Panicked), "a panic in {call}");
    assert!(client.is_closed(), "a panic in {call}");
    let metrics = &server.usage()[0].metrics;
    assert_eq!((metrics.panics.get(), metrics.closed.get()), (1, 1), "a panic in {call}");
    drop(server);
    // The handlers are gone, so whatever they could tell is told.
    assert!(!told.iter().any(|told| matches!(told, Told::Closed(_))), "closed twice after a panic in {call}");
}

/// A panic in any call ends the connection, `closed` comes once, and says why (V-4, A-31). Broken by a loop that
/// goes on after the panic; two last calls cannot be written, because `closed` takes the handler itself.
#[test]
fn a_panic_in_any_call_ends_its_connection_once() {
    check(
        "open",
        |told, _| if matches!(told, Told::Open) { panic_quietly() } else { Flow::Continue },
        |_, _| {},
    );
    check(
        "data",
        |told, io| match told {
            Told::Data(_) => {
                io.output().write(b"never sent").expect("memory");
                panic_quietly()
            }
            _ => Flow::Continue,
        },
        |client, _| client.write(b"x"),
    );
    check(
        "writable",
        |told, io| match told {
            Told::Open => {
                io.output().write(&vec![1; 16 << 20]).expect("memory");
                Flow::Continue
            }
            Told::Writable => panic_quietly(),
            _ => Flow::Continue,
        },
        |client, _| {
            // Reads what is there, so that the congestion ends.
            client.is_closed();
        },
    );
    check(
        "eof",
        |told, _| if matches!(told, Told::Eof) { panic_quietly() } else { Flow::Continue },
        |client, _| client.end(),
    );
    check(
        "drain",
        |told, _| if matches!(told, Told::Drain) { panic_quietly() } else { Flow::Continue },
        |_, server| {
            until("it is open", || server.usage()[0].metrics.opened.get() == 1);
            server.stopper().stop();
        },
    );
}

struct PanicsWhenWoken;

impl Handler for PanicsWhenWoken {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        io.handle().wake();
        Flow::Continue
    }

    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }

    fn woken(&mut self, _io: &mut Io<'_>) -> Flow {
        panic_quietly()
    }
}

/// A panic of a handler that another thread has woken ends its connection, and no other.
#[test]
fn a_panic_when_woken_ends_its_connection() {
    let server = Server::builder().loops(1).bind(&any_port(), |_: &Peer| PanicsWhenWoken).expect("a server");
    for round in 1..=3 {
        assert!(Client::connect(server.address()).is_closed());
        let closed_by = &server.usage()[0].metrics.closed_by;
        until("it is counted", || closed_by.panicked.get() == round);
    }
    server.stopper().stop();
    server.join().expect("an orderly end");
}

struct PanicsAtTheEnd;

impl Handler for PanicsAtTheEnd {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        io.input().skip(n).map_or_else(|short| Flow::Abort(Box::new(short)), |()| Flow::Continue)
    }

    fn closed(self: Box<Self>, _why: CloseReason) {
        panic_quietly()
    }
}

impl Drop for PanicsAtTheEnd {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_quietly();
        }
    }
}

/// A panic in `closed`, or while the handler is dropped, leaves the loop running.
#[test]
fn a_panic_at_the_end_leaves_the_loop_running() {
    let server = Server::builder().loops(1).bind(&any_port(), |_: &Peer| PanicsAtTheEnd).expect("a server");
    for round in 1..=3 {
        drop(Client::connect(server.address()));
        until("it is closed", || server.usage()[0].metrics.closed.get() == round);
    }
    server.stopper().stop();
    server.join().expect("an orderly end");
}

/// A panic while a handler is made closes that connection, and the next is served.
#[test]
fn a_panic_while_a_handler_is_made_costs_one_connection() {
    let (count, counted) = channel();
    let make = move |peer: &Peer| {
        count.send(()).expect("the test listens");
        // Only the first.
        if counted_before() == 0 { panic_quietly() } else { echo(peer) }
    };
    let server = Server::builder().loops(1).bind(&any_port(), make).expect("a server");
    assert!(Client::connect(server.address()).is_closed());
    let mut next = Client::connect(server.address());
    assert!(next.echoes(b"served"));
    let metrics = &server.usage()[0].metrics;
    assert_eq!((metrics.opened.get(), metrics.closed.get(), metrics.panics.get()), (2, 1, 1));
    assert_eq!(counted.try_iter().count(), 2);
}

/// How often this has been called on this thread before.
fn counted_before() -> usize {
    thread_local!(static CALLS: std::sync::OnceLock<()> = const { std::sync::OnceLock::new() });
    CALLS.with(|calls| usize::from(calls.set(()).is_err()))
}
