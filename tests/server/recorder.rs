//! A handler that tells a test what happens to it, and does what the test wants.

use std::sync::mpsc::Sender;

use linkpoll::conn::CloseReason;
use linkpoll::service::{Flow, Handler, Io, Peer};

/// What a handler is told.
#[derive(Debug)]
pub(crate) enum Told {
    Open,
    Data(usize),
    Writable,
    Eof,
    Drain,
    Closed(CloseReason),
}

type Hook = fn(&Told, &mut Io<'_>) -> Flow;

/// See the module's documentation. All input is consumed before the hook is asked.
pub(crate) struct Recorder {
    tell: Sender<Told>,
    hook: Hook,
}

impl Recorder {
    /// Makes handlers that tell `tell`, and answer as `hook` does.
    pub(crate) fn maker(tell: Sender<Told>, hook: Hook) -> impl Fn(&Peer) -> Self + Send + Sync {
        move |_peer| Self { tell: tell.clone(), hook }
    }

    fn call(&mut self, told: Told, io: &mut Io<'_>) -> Flow {
        let flow = (self.hook)(&told, io);
        // A test that has seen enough does not listen any more.
        drop(self.tell.send(told));
        flow
    }
}

impl Handler for Recorder {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Told::Open, io)
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        io.input().skip(n).expect("all of it is there");
        self.call(Told::Data(n), io)
    }

    fn writable(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Told::Writable, io)
    }

    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Told::Eof, io)
    }

    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Told::Drain, io)
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        drop(self.tell.send(Told::Closed(why)));
    }
}

/// Goes on until the peer or the server ends.
pub(crate) fn usual(told: &Told, _io: &mut Io<'_>) -> Flow {
    match told {
        Told::Eof | Told::Drain => Flow::CloseWhenSent,
        _ => Flow::Continue,
    }
}
