//! Calls of handlers, and what follows from them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use super::lending::SendMemory;
use super::scarce::kept;
use super::stop::Level;
use crate::buffer::Port;
use crate::conn::{Act, CloseReason, Hold, Phase};
use crate::driver::{Driver, Key};
use crate::panics;
use crate::service::{Flow, Handler, Io};
use crate::trace::event;

/// A message that misses this many bytes is received into a block of its own by drivers that do so.
pub(super) const LARGE: usize = 16 << 10;

/// Why a connection ends whose handler just ends it.
#[derive(Clone, Copy)]
enum Natural {
    Finished,
    PeerEnded,
    Stopped,
}

impl From<Natural> for CloseReason {
    fn from(natural: Natural) -> Self {
        match natural {
            Natural::Finished => Self::Finished,
            Natural::PeerEnded => Self::PeerEnded,
            Natural::Stopped => Self::Stopped,
        }
    }
}

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The bytes that are there to be read: what it leaves, it has seen, and what it wants counts.
    Bytes,
    /// Something else. If it leaves the bytes alone and wants none, then what was wanted before still is.
    Other,
}

/// A call of a handler that has come back.
struct Called {
    natural: Natural,
    about: About,
    /// What the handler wants, if it is not to go on.
    flow: Result<Option<Box<Flow>>, Box<dyn Any + Send>>,
    /// The bytes that were there to be read.
    waiting: usize,
    wanted: usize,
    pause: Option<bool>,
    shut: bool,
}

impl<D: Driver> Reactor<D> {
    pub(super) fn call_open(&mut self, key: Key) {
        self.call(key, Natural::Finished, About::Bytes, |handler, io| handler.open(io));
    }

    #[inline]
    pub(super) fn call_data(&mut self, key: Key) {
        self.call(key, Natural::Finished, About::Bytes, |handler, io| handler.data(io));
    }

    pub(super) fn call_woken(&mut self, key: Key) {
        let finished = self.natural_end(key);
        self.call(key, finished, About::Other, |handler, io| handler.woken(io));
    }

    /// Why a handler would end that has been told of the peer's end, or of the server's, and has put its own off.
    fn natural_end(&mut self, key: Key) -> Natural {
        let peer_ended = self.slots.connection(key).is_some_and(|it| it.automaton.knows_end());
        match self.stopping {
            _ if peer_ended => Natural::PeerEnded,
            Level::Run => Natural::Finished,
            _ => Natural::Stopped,
        }
    }

    pub(super) fn call_drain(&mut self, key: Key) {
        if let Some(connection) = self.slots.connection(key) {
            connection.drained = true;
        }
        self.call(key, Natural::Stopped, About::Other, |handler, io| handler.drain(io));
    }

    /// The peer wants the connection to end soon.
    pub(super) fn call_leaving(&mut self, key: Key) {
        let finished = self.natural_end(key);
        self.call(key, finished, About::Other, |handler, io| handler.leaving(io));
    }

    /// Calls each handler again whose congestion was over at once. Once a turn, so that other connections have theirs.
    pub(super) fn call_relieved(&mut self) {
        for key in std::mem::take(&mut self.relieved) {
            self.call_pending(key);
        }
    }

    /// Does what handlers have put off until now.
    pub(super) fn end_turn(&mut self) {
        if self.locals.len() > 0 {
            self.end_turn_of_locals();
        }
        for run in std::mem::take(&mut self.turn_ends) {
            self.guard(|_| run());
        }
        self.wakes.wake_all();
    }

    /// Calls that had to wait for the end of a congestion, in their order.
    pub(super) fn call_pending(&mut self, key: Key) {
        let relieved = self.slots.connection(key).is_some_and(|it| it.automaton.take_relief());
        if relieved {
            let finished = self.natural_end(key);
            self.call(key, finished, About::Other, |handler, io| handler.writable(io));
        }
        let owed =
            self.slots.connection(key).is_some_and(|it| it.automaton.take_owed() && !it.input.is_empty());
        if owed {
            self.call_data(key);
        }
        if self.slots.connection(key).is_some_and(|it| it.automaton.take_eof()) {
            self.call(key, Natural::PeerEnded, About::Bytes, |handler, io| handler.eof(io));
        }
        // A handler that has taken over while the loop drains has yet to learn of it.
        if self.is_draining() && self.slots.connection(key).is_some_and(|it| !it.drained && !it.leaving) {
            self.call_drain(key);
        }
    }

    /// Calls the handler of an open connection, sends what it wrote, and does as it says.
    ///
    /// Usually it reads all that is there and goes on: then what is done here is all there is to do.
    #[inline]
    fn call(
        &mut self,
        key: Key,
        natural: Natural,
        about: About,
        which: impl FnOnce(&mut dyn Handler, &mut Io<'_>) -> Flow,
    ) {
        let Some(connection) = self.slots.connection(key) else { return };
        if connection.automaton.phase() != Phase::Open {
            return;
        }
        let Some(mut handler) = connection.handler.take() else { return };
        let waiting = connection.input.len();
        let mut io = Io {
            connection: &mut *connection,
            output: &mut self.writer,
            door: &self.mailbox,
            turn_ends: &mut self.turn_ends,
            wakes: &mut self.wakes,
            locals: &mut self.locals,
            key,
            wanted: 0,
            messages: 0,
            pause: None,
            shut: false,
        };
        let mut memory = SendMemory { driver: &mut self.driver, key };
        let flow = Port::lend(self.port.as_deref(), &mut memory, || {
            // What is rare is boxed, so that going on is one word.
            catch_unwind(AssertUnwindSafe(|| match which(&mut *handler, &mut io) {
                Flow::Continue => None,
                other => Some(Box::new(other)),
            }))
        });
        let Io { wanted, messages, pause, shut, .. } = io;
        if self.port.is_some() {
            self.writer.come_home();
        }
        // There is none, for it was taken out above; nothing is to be dropped.
        std::mem::forget(connection.handler.replace(handler));
        if messages > 0 {
            self.metrics.messages.add(messages);
        }
        if let Some(segment) = connection.input.take_consumed() {
            self.writer.spend(segment);
        }
        if let Some(spent) = self.writer.take_spent() {
            self.driver.reuse(key, spent);
        }
        let goes_on = matches!(flow, Ok(None)) & pause.is_none() & !shut & (wanted == 0);
        if !(goes_on & connection.input.is_empty() & !connection.has_begun()) {
            return self.called(key, Called { natural, about, flow, waiting, wanted, pause, shut });
        }
        let Some(run) = self.writer.run() else {
            self.send_written(key, 0);
            return;
        };
        let bytes = run.len();
        if bytes == 0 {
            return;
        }
        let taken = if connection.is_through(bytes) { self.driver.send_bytes(key, run) } else { 0 };
        self.writer.sent(taken);
        if taken < bytes {
            self.send_written(key, taken);
            return;
        }
        self.metrics.sent.add(taken as u64);
        self.mind_idle(key);
    }

    /// What follows from a call that was not a usual one.
    #[inline(never)]
    fn called(&mut self, key: Key, called: Called) {
        let Called { natural, about, flow, waiting, wanted, pause, shut } = called;
        let Some(connection) = self.slots.connection(key) else { return };
        if connection.holds_scarce {
            connection.holds_scarce = false;
            connection.input.replace_last(|last| kept(last, self.driver.pool()));
        }
        let consumed = connection.input.len() < waiting;
        let as_before = (about == About::Other) & (wanted == 0) & !consumed;
        // A block that a large message is being received into is kept, however little of it is filled yet.
        if (wanted >= LARGE) | as_before && connection.expects > 0 {
            connection.input.compact_all_but_last();
        } else {
            connection.input.compact();
        }
        if !as_before {
            connection.wants_more = wanted > 0;
        }
        let wants_more = connection.wants_more;
        let unread = connection.input.len();
        let much = (unread > self.options.unread_marks.high) | connection.automaton.is_held(Hold::Unread);
        let large = (wanted >= LARGE) | (connection.expects > 0);
        let reading = connection.has_begun_reading();
        let next = match flow.map(|flow| flow.map(|flow| *flow)) {
            Ok(Some(Flow::Abort(error))) => return self.give_up(key, CloseReason::Aborted(error)),
            Ok(next) => next,
            Err(payload) => {
                panics::discard(payload);
                self.metrics.panics.add(1);
                event!(ERROR, ?key, "a handler panicked");
                return self.give_up(key, CloseReason::Panicked);
            }
        };
        if !self.send_written(key, 0) {
            // A successor that does not come to it.
            self.guard(|_| drop(next));
            return;
        }
        if large & !as_before {
            self.expect(key, wanted);
        } else if wanted > 0 {
            self.driver.want(key, wanted);
        }
        if let Some(pause) = pause {
            self.set_pause(key, pause);
        }
        // A call beside the bytes ends no wait for them; without one it counts like any.
        if much & !(as_before & wants_more) {
            self.mind_unread(key, unread, wants_more);
        }
        if reading {
            self.mind_reading(key, consumed);
        }
        if shut | next.is_some() {
            self.follow(key, shut, next, natural.into());
        }
    }

    /// Gives the driver what was written, behind `ahead` bytes of it that it has taken already. Answers whether that
    /// was possible; if not, the connection is closed.
    #[inline(never)]
    fn send_written(&mut self, key: Key, ahead: usize) -> bool {
        let chain = match self.writer.take() {
            Ok(chain) => chain,
            Err(error) => {
                self.give_up(key, CloseReason::Aborted(Box::new(error)));
                return false;
            }
        };
        let Some(connection) = self.slots.connection(key) else { return true };
        // Nothing is sent behind the end of our direction.
        if chain.is_empty() || connection.automaton.is_shut() {
            return true;
        }
        let bytes = ahead + chain.len();
        let taken = ahead + self.driver.send(key, chain, None);
        self.metrics.sent.add(taken as u64);
        let act = connection.passed(bytes, taken);
        if taken < bytes || !act.is_nothing() || self.options.idle_limit.is_some() {
            self.passed(key, taken, act);
        }
        true
    }

    /// What follows when bytes were given to the driver, and it has taken some of them at once.
    #[cold]
    pub(super) fn passed(&mut self, key: Key, taken: usize, act: Act) {
        self.mind_writing(key, taken > 0);
        if taken > 0 {
            self.mind_idle(key);
        }
        self.carry_out_later(key, act);
    }

    /// A call has left many bytes unread, or had done so before.
    #[cold]
    fn mind_unread(&mut self, key: Key, unread: usize, wants_more: bool) {
        let marks = self.options.unread_marks;
        let Some(connection) = self.slots.connection(key) else { return };
        let act = connection.automaton.left(unread, wants_more, marks);
        self.carry_out_later(key, act);
    }

    #[cold]
    fn set_pause(&mut self, key: Key, pause: bool) {
        let Some(connection) = self.slots.connection(key) else { return };
        let act = match pause {
            true => connection.automaton.hold(Hold::Pause),
            false => connection.automaton.release(Hold::Pause),
        };
        self.carry_out_later(key, act);
    }

    /// Does what a call has asked for beyond going on. `finished` is the reason noted for [`Flow::CloseWhenSent`].
    #[cold]
    fn follow(&mut self, key: Key, shut: bool, next: Option<Flow>, finished: CloseReason) {
        let Some(connection) = self.slots.connection(key) else {
            self.guard(|_| drop(next));
            return;
        };
        if shut {
            let act = connection.automaton.shut_down();
            self.carry_out(key, act);
        }
        match next {
            Some(Flow::CloseWhenSent) => self.finish(key, finished),
            Some(Flow::AbortWhenSent(error)) => self.finish(key, CloseReason::Aborted(error)),
            Some(Flow::Become(successor)) => self.succeed(key, successor),
            Some(Flow::Detach(give)) => self.detach_for(key, give),
            _ => {}
        }
    }

    /// Puts another handler in the place of the present one. Handlers that hand over as soon as they are opened are
    /// worked off in a row, not in one another: the stack is no deeper for it.
    fn succeed(&mut self, key: Key, successor: Box<dyn Handler>) {
        self.successor = Some(successor);
        if std::mem::replace(&mut self.succeeding, true) {
            return;
        }
        while let Some(successor) = self.successor.take() {
            let Some(connection) = self.slots.connection(key) else { break };
            let act = connection.automaton.renew(successor.reads_on());
            connection.drained = false;
            let former = connection.handler.replace(successor);
            self.guard(|_| drop(former));
            self.carry_out_later(key, act);
            self.call_open(key);
        }
        self.succeeding = false;
        self.relieved.push(key);
    }

    /// Closes when everything is sent.
    pub(super) fn finish(&mut self, key: Key, reason: CloseReason) {
        let Some(connection) = self.slots.connection(key) else {
            self.guard(|_| drop(reason));
            return;
        };
        if connection.automaton.phase() == Phase::Open {
            let act = connection.automaton.finish();
            self.blame(key, reason);
            self.carry_out(key, act);
        } else {
            self.guard(|_| drop(reason));
        }
    }

    /// Does what the automaton says, but calls the handler only later in the turn, not from within a call: a handler
    /// that answers a few bytes with many could go on for as long as the socket takes them.
    fn carry_out_later(&mut self, key: Key, act: Act) {
        if act.call {
            self.relieved.push(key);
        }
        self.carry_out(key, Act { call: false, ..act });
    }

    /// Closes without sending what the handler wrote last.
    fn give_up(&mut self, key: Key, reason: CloseReason) {
        self.writer.discard();
        self.close(key, reason);
    }

    /// Notes why a connection ends, unless an earlier reason is noted. An error that is not wanted is the application's,
    /// and is dropped as such.
    pub(super) fn blame(&mut self, key: Key, reason: CloseReason) {
        let unwanted = match self.slots.connection(key) {
            Some(connection) => connection.blame(reason),
            None => Some(reason),
        };
        if unwanted.is_some() {
            self.guard(|_| drop(unwanted));
        }
    }

    /// Runs code of the application; a panic is counted and contained.
    pub(super) fn guard<R>(&mut self, run: impl FnOnce(&mut Self) -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(result) => Some(result),
            Err(payload) => {
                panics::discard(payload);
                self.metrics.panics.add(1);
                event!(ERROR, "a handler panicked while it was made or dropped");
                None
            }
        }
    }
}
