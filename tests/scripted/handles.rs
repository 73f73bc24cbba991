//! What other threads do to connections, played on this one: commands are carried out at the beginning of the next
//! turn, before anything else.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{Handle, Receipt};
use linkpoll::sync::{Arc, Counter};
use linkpoll_model::conn::{Asked, Direction, Note, Op, Program, Receipt as Said, Size, bytes};

/// Bytes that were sent through a handle: whose, behind how many others, and how many.
struct Given {
    conn: usize,
    start: usize,
    n: usize,
    receipt: Receipt,
}

pub(super) struct Handles {
    notes: Sender<Note>,
    opened: Sender<(usize, Handle)>,
    arriving: Receiver<(usize, Handle)>,
    handles: BTreeMap<usize, Handle>,
    /// Bytes written on each connection, by its handler or through its handle.
    wrote: Vec<Arc<Counter>>,
    /// Connections with a command under way.
    busy: Vec<usize>,
    given: Vec<Given>,
}

impl Handles {
    pub(super) fn new(notes: Sender<Note>) -> Self {
        let (opened, arriving) = channel();
        let wrote = (0..=Program::LONGEST).map(|_| Arc::default()).collect();
        let (handles, busy, given) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { notes, opened, arriving, handles, wrote, busy, given }
    }

    /// What handlers need: the counts of written bytes, and where they give their handles.
    pub(super) fn for_handlers(&self) -> (Vec<Arc<Counter>>, Sender<(usize, Handle)>) {
        (self.wrote.clone(), self.opened.clone())
    }

    fn note(&self, note: Note) {
        self.notes.send(note).expect("the notes are read later");
    }

    pub(super) fn is_busy(&self, conn: usize) -> bool {
        self.busy.contains(&conn)
    }

    pub(super) fn any_is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Everything asked for so far is carried out now.
    pub(super) fn begin_turn(&mut self) {
        self.busy.clear();
    }

    /// Uses the handle of a connection, if it has been opened. A connection that is gone still has its handle.
    pub(super) fn ask(&mut self, conn: usize, op: Op) {
        self.handles.extend(self.arriving.try_iter());
        let Some(handle) = self.handles.get(&conn).cloned() else { return };
        self.busy.push(conn);
        let (asked, command): (Asked, fn(&Handle)) = match op {
            Op::Wake { .. } => (Asked::Wake, Handle::wake),
            Op::Pause { .. } => (Asked::Pause, Handle::pause),
            Op::Resume { .. } => (Asked::Resume, Handle::resume),
            Op::CloseByHandle { .. } => (Asked::Close, Handle::close),
            Op::AbortByHandle { .. } => (Asked::Abort, Handle::abort),
            Op::Send { size, .. } => return self.send(conn, &handle, Size(size).bytes()),
            _ => return,
        };
        self.note(Note::Asked(conn, asked));
        command(&handle);
    }

    /// Nothing happens on this connection between now and the next turn: if it takes bytes now, it takes these.
    fn send(&mut self, conn: usize, handle: &Handle, n: usize) {
        let start = usize::try_from(self.wrote[conn].get()).expect("as many were written");
        let chain = Chain::from(Segment::from(bytes(conn, Direction::Out, start, n)));
        // Behind everything there will ever be, if it is not taken.
        let start = if handle.is_active() { start } else { usize::MAX };
        if start < usize::MAX {
            self.note(Note::Given(conn, n));
            self.wrote[conn].add(n as u64);
        }
        let receipt = handle.send(chain);
        self.given.push(Given { conn, start, n, receipt });
    }

    /// Lets every connection go on.
    pub(super) fn resume_all(&mut self) {
        self.handles.extend(self.arriving.try_iter());
        for (conn, handle) in &self.handles {
            self.note(Note::Asked(*conn, Asked::Resume));
            handle.resume();
        }
    }

    /// Notes down what became of everything that was sent. The loop is gone.
    pub(super) fn answer(self) {
        for Given { conn, start, n, mut receipt } in self.given {
            let said = match receipt.wait_until(Instant::now()) {
                Some(Ok(())) => Said::Sent,
                Some(Err(error)) => Said::Closed(error.taken),
                None => Said::Silent,
            };
            self.notes.send(Note::Receipt(conn, start, n, said)).expect("the notes are read later");
        }
    }
}
