//! A server that stops gracefully on SIGTERM or SIGINT, and at once on the second one.
//!
//! The program sends itself the first signal while a client waits for its answer, and checks that the answer comes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use linkpoll::buffer::SegmentWriter;
use linkpoll::net::{Address, Server};
use linkpoll::service::{Frame, Framed, HandlerError, Payload, Peer};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> Result<(), HandlerError> {
    let echo = |_: &Peer| {
        Framed::new(Frame::default(), |request: Payload<'_>, reply: &mut SegmentWriter| {
            Ok(request.pieces().try_for_each(|piece| reply.write(piece))?)
        })
    };
    let server = Server::builder().loops(2).bind(&Address::resolve("127.0.0.1:0")?, echo)?;

    // Signals are taken by a thread of their own.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stopper = server.stopper();
    thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stopper.stop();
        }
        if signals.next().is_some() {
            stopper.stop_now();
        }
    });

    let Address::Tcp(address) = server.address() else { return Err("it was bound to a port".into()) };
    let mut client = TcpStream::connect(address)?;
    client.write_all(b"\0\0\0\x05hello")?;
    let received = || server.usage().iter().map(|it| it.metrics.received.get()).sum::<u64>();
    while received() < 9 {
        thread::yield_now();
    }
    signal_hook::low_level::raise(SIGTERM)?;

    // What was asked before the signal is answered, and then the connection ends.
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    assert_eq!(answer, b"\0\0\0\x05hello");
    drop(client);
    server.join()?;
    println!("answered, drained and ended");
    Ok(())
}
