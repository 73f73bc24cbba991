//! Deadlines of connections make no system calls, and here it is the kernel that counts.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod kernel;
#[path = "support/skip.rs"]
mod skip;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use linkpoll::net::{Address, Server};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Frame, Framed, Peer};

use kernel::Counter;
use skip::skip;
use support::eventually;

/// Messages in two parts, so that each begins and ends the read limit, begins the write limit and begins the idle limit
/// anew: the loop's thread waits, receives and sends, and the kernel sees no other call.
#[test]
fn a_deadline_that_begins_anew_costs_no_system_call() {
    const MESSAGES: u64 = 200;
    let limit = Some(Duration::from_secs(60));
    let options =
        LoopOptions { idle_limit: limit, read_limit: limit, write_limit: limit, ..LoopOptions::default() };
    let echo = |_: &Peer| {
        Framed::new(Frame::default(), |request, reply| {
            request.pieces().try_for_each(|piece| reply.write(piece)).map_err(Into::into)
        })
    };
    let address = Address::resolve("127.0.0.1:0").unwrap();
    let server = Server::builder().loops(1).options(options).bind(&address, echo).unwrap();
    let (usage, process) = (&server.usage()[0], std::process::id());
    let thread = kernel::threads(process).into_iter().find(|(_, name)| name == "linkpoll-0").unwrap().0;
    let opened = kernel::tracepoint().and_then(|tracepoint| {
        let opened = Counter::open(tracepoint, thread, &[]);
        opened.map_err(|error| format!("perf_event_open of raw_syscalls:sys_enter: {error}"))
    });
    let mut counter = match opened {
        Ok(counter) => counter,
        Err(reason) => return skip("deadlines::a_deadline_that_begins_anew_costs_no_system_call", &reason),
    };
    // Asleep, and without a call since it was last seen so.
    let mut at_rest = || {
        let mut before = None;
        eventually("the loop rests", || {
            let now = Some(counter.read()).filter(|_| kernel::sleeps(process, thread));
            now.is_some() && std::mem::replace(&mut before, now) == now
        });
        (counter.read(), usage.system_calls.snapshot())
    };

    let mut stream = TcpStream::connect(server.address().to_string()).unwrap();
    stream.set_nodelay(true).unwrap();
    let received = || usage.metrics.received.get();
    let message = |stream: &mut TcpStream| {
        let part = received() + 5;
        stream.write_all(b"\0\0\0\x05h").unwrap();
        eventually("a part has arrived", || received() == part);
        stream.write_all(b"ello").unwrap();
        let mut reply = [0; 9];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"\0\0\0\x05hello");
    };
    // Whatever is done once is done.
    message(&mut stream);
    let (kernel_before, before) = at_rest();
    (0..MESSAGES).for_each(|_| message(&mut stream));
    let (kernel, now) = at_rest();
    let counted = now.since(&before);
    assert!(usage.metrics.timers.get() == 1, "deadlines have a timer");
    assert_eq!(kernel - kernel_before, counted.total(), "{counted}");
    assert_eq!((counted.receive, counted.send), (2 * MESSAGES, MESSAGES), "{counted}");
    assert_eq!((counted.accept, counted.control, counted.other), (0, 0, 0), "{counted}");
    assert!(counted.wait <= 2 * MESSAGES + 1, "{counted}");
}
