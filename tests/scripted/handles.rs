//! What other threads do to connections, played on this one: commands are carried out at the beginning of the next
//! turn, before anything else.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{Handle, Receipt};
use linkpoll::net::{DialError, DialOptions, Dialer, Dialling};
use linkpoll::service::Peer;
use linkpoll::sync::{Arc, Counter};
use linkpoll_model::conn::{
    Asked, Direction, Ended, Note, Op, Outcome, Program, Receipt as Said, Size, bytes,
};

use super::handler::Scripted;
use super::socket::addresses_of;

/// Makes the handler of a connection that is dialled.
pub(super) type MakeOne = Box<dyn FnOnce(&Peer) -> Scripted + Send>;

/// Bytes that were sent through a handle: whose, behind how many others, and how many.
struct Given {
    conn: usize,
    start: usize,
    n: usize,
    receipt: Receipt,
}

/// What is reached of a connection that has opened.
pub(super) type Opened = (usize, Handle, Dialer);

pub(super) struct Handles {
    notes: Sender<Note>,
    opened: Sender<Opened>,
    arriving: Receiver<Opened>,
    handles: BTreeMap<usize, Handle>,
    /// Dials from the loop, once it has had a connection; and what is waited for.
    dialer: Option<Dialer>,
    dials: Vec<(usize, Dialling)>,
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
        let (dialer, dials) = (None, Vec::new());
        Self { notes, opened, arriving, handles, dialer, dials, wrote, busy, given }
    }

    /// What handlers need: the counts of written bytes, and where they give their handles.
    pub(super) fn for_handlers(&self) -> (Vec<Arc<Counter>>, Sender<Opened>) {
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

    fn arrive(&mut self) {
        for (conn, handle, dialer) in self.arriving.try_iter() {
            self.handles.insert(conn, handle);
            self.dialer = Some(dialer);
        }
    }

    /// Dials, if a connection has been opened.
    pub(super) fn dial(&mut self, conn: usize, outcome: Outcome, make: MakeOne) {
        self.arrive();
        let Some(dialer) = self.dialer.clone() else { return };
        self.busy.push(conn);
        let limit = outcome.is_limited().then_some(Outcome::TIMEOUT);
        let addresses = addresses_of(conn, outcome);
        self.note(Note::Dials(conn, addresses.len(), limit));
        let options = DialOptions { timeout: limit.map(Duration::from_nanos), ..DialOptions::default() };
        let dialling = dialer.options(options).dial(addresses, make);
        self.dials.push((conn, dialling));
    }

    /// Notes down which dials have ended.
    pub(super) fn look_at_dials(&mut self) {
        let notes = &self.notes;
        self.dials.retain_mut(|(conn, dialling)| {
            let Some(answer) = dialling.wait_until(Instant::now()) else { return true };
            let ended = match answer {
                Ok(_) => Ended::Connected,
                Err(DialError::Failed(_)) => Ended::Failed,
                Err(DialError::TimedOut(_)) => Ended::TimedOut,
                Err(_) => Ended::Stopped,
            };
            notes.send(Note::DialEnded(*conn, ended)).expect("the notes are read later");
            false
        });
    }

    /// Uses the handle of a connection, if it has been opened. A connection that is gone still has its handle.
    pub(super) fn ask(&mut self, conn: usize, op: Op) {
        self.arrive();
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
        self.arrive();
        for (conn, handle) in &self.handles {
            self.note(Note::Asked(*conn, Asked::Resume));
            handle.resume();
        }
    }

    /// Notes down what became of everything that was sent. The loop is gone.
    pub(super) fn answer(mut self) {
        self.look_at_dials();
        for (conn, _) in &self.dials {
            self.note(Note::DialEnded(*conn, Ended::Silent));
        }
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
