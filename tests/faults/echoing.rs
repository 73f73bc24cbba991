//! Servers that echo, of every kind that the library has.

use std::io::{self, Read as _, Write as _};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use linkpoll::buffer::Chain;
use linkpoll::net::{Server, ServerBuilder};
use linkpoll::service::{Deferred, Dispatch, Frame, Serve, WorkPool};
use linkpoll::stream::{Stream, hand_off};

use crate::bed::{actors, any_port};

/// What answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A handler.
    Handler,
    /// A service on the loop, which puts every other answer off.
    Inline,
    /// A service on the threads of a pool.
    Pool,
    /// Threads that have the connections as streams.
    Stream,
}

/// All of them.
pub(crate) const KINDS: [Kind; 4] = [Kind::Handler, Kind::Inline, Kind::Pool, Kind::Stream];

/// A server of this kind. Threads that run apart from its loops keep a clone of `alive`.
pub(crate) fn serve(kind: Kind, builder: &ServerBuilder, alive: Sender<()>) -> io::Result<Server> {
    let (builder, address) = (builder.clone(), any_port());
    match kind {
        Kind::Handler => builder.bind(&address, actors(channel().0, channel().0)),
        Kind::Inline => {
            let put_off = answer_later(alive);
            let echo = Serve::function(Frame::default, move |message: Chain, reply| {
                if message.len().is_multiple_of(2) {
                    reply.send(message);
                } else {
                    put_off.send((message, reply.later())).expect("it runs as long as the service is there");
                }
            });
            builder.bind(&address, echo)
        }
        Kind::Pool => {
            let echo = Serve::function(Frame::default, |message, reply| reply.send(message));
            builder.bind(&address, echo.dispatch(Dispatch::Pool(WorkPool::new(3)?)))
        }
        Kind::Stream => {
            let streams = hand_off(move |stream| {
                let alive = alive.clone();
                thread::spawn(move || {
                    let _alive = alive;
                    // A stream may break at any time. Whether all was well before its peer can tell.
                    drop(echo(stream));
                });
            });
            builder.bind(&address, streams)
        }
    }
}

/// A thread that answers what it is given.
fn answer_later(alive: Sender<()>) -> Sender<(Chain, Deferred<Frame>)> {
    let (put_off, later) = channel();
    thread::spawn(move || {
        let _alive = alive;
        later.iter().for_each(|(message, reply): (_, Deferred<Frame>)| reply.send(message));
    });
    put_off
}

/// Writes what it reads, until the end.
fn echo(mut stream: Stream) -> io::Result<()> {
    let mut bytes = [0; 20_000];
    loop {
        match stream.read(&mut bytes)? {
            0 => return stream.writer().finish(),
            n => stream.write_all(&bytes[..n])?,
        }
    }
}
