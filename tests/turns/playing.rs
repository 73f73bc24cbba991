//! A handler that notes down each call, and does in it what a test wants.

use std::sync::mpsc::Sender;

use linkpoll::conn::CloseReason;
use linkpoll::service::{Flow, Handler, Io};

/// A call of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Data,
    Writable,
    Eof,
    Woken,
    Drain,
    Closed,
}

/// A call, and whose.
pub(crate) type Note = (&'static str, Call);

type Play = Box<dyn FnMut(Call, &mut Io<'_>) -> Flow + Send>;

/// See the module's documentation.
pub(crate) struct Playing {
    name: &'static str,
    notes: Sender<Note>,
    play: Play,
    reasons: Sender<CloseReason>,
}

/// Where handlers note down what happens.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    pub(crate) notes: Sender<Note>,
    pub(crate) reasons: Sender<CloseReason>,
}

impl Notes {
    /// A handler of this name.
    pub(crate) fn play(
        &self,
        name: &'static str,
        play: impl FnMut(Call, &mut Io<'_>) -> Flow + Send + 'static,
    ) -> Playing {
        let Self { notes, reasons } = self.clone();
        Playing { name, notes, play: Box::new(play), reasons }
    }

    /// One that reads everything and goes on.
    pub(crate) fn goes_on(&self, name: &'static str) -> Playing {
        self.play(name, |_, io| {
            consume(io);
            Flow::Continue
        })
    }
}

/// Reads everything there is. Answers how much that was.
pub(crate) fn consume(io: &mut Io<'_>) -> usize {
    let n = io.input().len();
    io.input().skip(n).expect("as many are there");
    n
}

impl Playing {
    fn call(&mut self, call: Call, io: &mut Io<'_>) -> Flow {
        // A test that has ended does not read any more.
        let _ = self.notes.send((self.name, call));
        (self.play)(call, io)
    }
}

impl Handler for Playing {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Call::Open, io)
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Call::Data, io)
    }

    fn writable(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Call::Writable, io)
    }

    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Call::Eof, io)
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Call::Woken, io)
    }

    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Call::Drain, io)
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        let _ = self.notes.send((self.name, Call::Closed));
        drop(self.reasons.send(why));
    }
}
