//! A handler that does what a program says, and notes down what it sees.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::mpsc::Sender;

use linkpoll::buffer::{Chain, Segment, SegmentWriter};
use linkpoll::conn::{CloseReason, Detached};
use linkpoll::service::{Flow, Handler, Io};
use linkpoll::sync::{Arc, Counter};
use linkpoll_model::conn::{Answer, Behaviour, Callback, Decision, Direction, Note, Why, bytes, is_pattern};

use super::handles::Opened;

/// Bytes written at once are at most so many when they are an echo.
const LARGEST_ECHO: usize = 1 << 17;

pub(super) struct Scripted {
    id: usize,
    behaviour: Behaviour,
    decisions: VecDeque<Decision>,
    notes: Sender<Note>,
    consumed: usize,
    seen: usize,
    /// Bytes that were written, by anybody.
    wrote: Arc<Counter>,
    calls: usize,
    /// Its direction is ended: what is written is dropped.
    shut: bool,
    handles: Sender<Opened>,
    /// It was told that it may write again while bytes wait, so it is to be called with them at once.
    owed: bool,
}

impl Scripted {
    pub(super) fn new(
        id: usize,
        behaviour: Behaviour,
        decisions: VecDeque<Decision>,
        notes: Sender<Note>,
        wrote: Arc<Counter>,
        handles: Sender<Opened>,
    ) -> Self {
        let (consumed, seen, calls) = (0, 0, 0);
        Self {
            id,
            behaviour,
            decisions,
            notes,
            consumed,
            seen,
            wrote,
            calls,
            shut: false,
            handles,
            owed: false,
        }
    }

    /// The handler that takes over from this one, and goes on where it was.
    fn successor(&self) -> Self {
        Self {
            id: self.id,
            behaviour: self.behaviour,
            decisions: self.decisions.clone(),
            notes: self.notes.clone(),
            consumed: self.consumed,
            // What is left is handed over once more.
            seen: self.consumed,
            wrote: Arc::clone(&self.wrote),
            calls: self.calls,
            shut: self.shut,
            handles: self.handles.clone(),
            owed: false,
        }
    }

    fn note(&self, note: Note) {
        self.notes.send(note).expect("the notes are read later");
    }

    fn fault(&self, fault: &str) {
        self.note(Note::Fault(format!("connection {}: {fault}", self.id)));
    }

    fn call(&mut self, callback: Callback, io: &mut Io<'_>) -> Flow {
        self.calls += 1;
        if std::mem::take(&mut self.owed) && callback != Callback::Data {
            self.fault("a congestion is over, and the bytes that wait are not handed over");
        }
        self.look(callback, io);
        if callback == Callback::Open {
            self.handles.send((self.id, io.handle(), io.dialer())).expect("the handles are kept");
        }
        let decision = if callback == Callback::Open { None } else { self.decisions.pop_front() };
        let all = self.seen - self.consumed;
        let usual = if self.behaviour.waits() { 0 } else { all };
        let consume = decision.map_or(usual, |it| all * usize::from(it.consume) / 255);
        self.consume(io, consume);
        let echo = if self.behaviour.echoes() { consume.min(LARGEST_ECHO) } else { 0 };
        let write = decision.map_or(echo, |it| it.write.bytes());
        self.write(io.output(), write);
        let wanted = if self.behaviour.announces() { self.calls * 9973 % 100_000 } else { 0 };
        io.want(wanted);
        let unread = io.input().len();
        self.note(Note::Left { id: self.id, consumed: consume > 0, unread, wants_more: wanted > 0 });
        let answer = decision.and_then(Decision::answer).unwrap_or_else(|| self.usual(callback));
        // What is written behind the end of the direction is dropped.
        self.note(Note::Answered(self.id, if self.shut { 0 } else { write }, answer));
        let waiting = !io.input().is_empty() && !io.is_congested() && !io.is_paused();
        self.owed = callback == Callback::Writable && answer == Answer::Continue && waiting;
        self.answer(answer, io)
    }

    /// Notes the call down, and checks that the input goes on where it was.
    fn look(&mut self, callback: Callback, io: &mut Io<'_>) {
        let input = io.input();
        let mut at = self.consumed;
        let mut sound = true;
        for segment in input.segments() {
            sound &= is_pattern(self.id, Direction::In, at, segment);
            at += segment.len();
        }
        if at < self.seen {
            self.fault("bytes that were not consumed are gone");
        }
        // Only `data` hands bytes over; what is in the input of another call may still have to wait.
        let new = if callback == Callback::Data { at.saturating_sub(self.seen) } else { 0 };
        self.seen += new;
        self.note(Note::Called(self.id, callback, new));
        if !sound {
            self.fault("other bytes than the peer's, or another order");
        }
    }

    fn consume(&mut self, io: &mut Io<'_>, n: usize) {
        let input = io.input();
        let sound = if self.behaviour.joins() {
            input.next(n).is_ok_and(|read| is_pattern(self.id, Direction::In, self.consumed, read))
        } else {
            input.skip(n).is_ok()
        };
        self.consumed += n;
        if !sound {
            self.fault("bytes could not be read");
        }
    }

    /// Writes in one of the ways there are.
    fn write(&mut self, output: &mut SegmentWriter, n: usize) {
        let wrote = usize::try_from(self.wrote.get()).expect("as many were written");
        let written = bytes(self.id, Direction::Out, wrote, n);
        let result = match (self.calls % 3, written.first_chunk::<4>()) {
            (0, _) => output.append(Segment::from(written)),
            (1, Some(first)) => output
                .hole(4)
                .and_then(|hole| output.write(&written[4..]).and_then(|()| output.fill(hole, first))),
            _ => output.write(&written),
        };
        if result.is_err() {
            self.fault("bytes could not be written");
        }
        if !self.shut {
            self.wrote.add(n as u64);
        }
    }

    fn usual(&self, callback: Callback) -> Answer {
        let goes_on = match callback {
            Callback::Eof => self.behaviour.outlives_eof(),
            Callback::Drain => self.behaviour.outlives_drain(),
            Callback::Open | Callback::Data | Callback::Writable | Callback::Woken => true,
        };
        if goes_on { Answer::Continue } else { Answer::Finish }
    }

    /// Whoever gets the connection looks at what came along, and closes it.
    fn leave(&self) -> Flow {
        let (id, consumed, notes, wrote) =
            (self.id, self.consumed, self.notes.clone(), Arc::clone(&self.wrote));
        Flow::detach(move |Detached { received, unsent, peer_ended, shut, .. }| {
            let sound = |direction, mut at: usize, chain: &Chain| {
                chain.segments().all(|segment| {
                    at += segment.len();
                    is_pattern(id, direction, at - segment.len(), segment)
                })
            };
            let wrote = usize::try_from(wrote.get()).expect("as many were written");
            let note = if sound(Direction::In, consumed, &received)
                && sound(Direction::Out, wrote.saturating_sub(unsent.len()), &unsent)
            {
                let (received, unsent) = (received.len(), unsent.len());
                Note::Detached { id, consumed, received, unsent, peer_ended, shut }
            } else {
                Note::Fault(format!("connection {id}: other bytes came along"))
            };
            notes.send(note).expect("the notes are read later");
        })
    }

    fn answer(&mut self, answer: Answer, io: &mut Io<'_>) -> Flow {
        match answer {
            Answer::Continue => Flow::Continue,
            Answer::Finish => Flow::CloseWhenSent,
            Answer::Abort => Flow::Abort("as decided".into()),
            // Without the message that a panic prints.
            Answer::Panic => resume_unwind(Box::new("as decided")),
            Answer::OpenHole => match io.output().hole(3) {
                Ok(_left_open) => Flow::Continue,
                Err(error) => Flow::from(error),
            },
            Answer::Pause => {
                io.pause();
                Flow::Continue
            }
            Answer::Resume => {
                io.resume();
                Flow::Continue
            }
            Answer::Shut => {
                self.shut = true;
                io.shutdown();
                Flow::Continue
            }
            Answer::Detach => self.leave(),
            Answer::Become => {
                self.note(Note::Again(self.id, self.seen - self.consumed));
                Flow::Become(Box::new(self.successor()))
            }
        }
    }
}

impl Handler for Scripted {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Callback::Open, io)
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Callback::Data, io)
    }

    fn writable(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Callback::Writable, io)
    }

    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Callback::Eof, io)
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Callback::Woken, io)
    }

    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        self.call(Callback::Drain, io)
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        let why = match why {
            CloseReason::PeerEnded | CloseReason::Finished | CloseReason::Stopped => Why::Done,
            CloseReason::Aborted(_) | CloseReason::Panicked => Why::GivenUp,
            CloseReason::Broken(_) => Why::Broken,
            CloseReason::DrainExpired => Why::Expired,
            CloseReason::IdleExpired => Why::Idle,
            CloseReason::ReadExpired => Why::Read,
            CloseReason::WriteExpired => Why::Write,
            CloseReason::Detached => Why::Detached,
            other => return self.fault(&format!("closed for an unknown reason, {other}")),
        };
        self.note(Note::Closed(self.id, why));
    }
}
