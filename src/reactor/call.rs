//! Calls of handlers, and what follows from them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use crate::conn::{CloseReason, Phase};
use crate::driver::{Driver, Key};
use crate::service::{Flow, Handler, Io};

/// A message that misses this many bytes is received into a block of its own by drivers that do so.
const LARGE: usize = 16 << 10;

impl<D: Driver> Reactor<D> {
    pub(super) fn call_open(&mut self, key: Key) {
        self.call(key, CloseReason::Finished, |handler, io| handler.open(io));
    }

    #[inline]
    pub(super) fn call_data(&mut self, key: Key) {
        self.call(key, CloseReason::Finished, |handler, io| handler.data(io));
    }

    pub(super) fn call_drain(&mut self, key: Key) {
        self.call(key, CloseReason::Stopped, |handler, io| handler.drain(io));
    }

    /// Calls each handler again whose congestion was over at once. Once a turn, so that other connections have theirs.
    pub(super) fn call_relieved(&mut self) {
        for key in std::mem::take(&mut self.relieved) {
            self.call_pending(key);
        }
    }

    /// Calls that had to wait for the end of a congestion, in their order.
    pub(super) fn call_pending(&mut self, key: Key) {
        let relieved = self.slots.connection(key).is_some_and(|it| it.automaton.take_relief());
        if relieved {
            self.call(key, CloseReason::Finished, |handler, io| handler.writable(io));
        }
        let waiting =
            self.slots.connection(key).is_some_and(|it| it.automaton.may_call() && !it.input.is_empty());
        if relieved && waiting {
            self.call_data(key);
        }
        if self.slots.connection(key).is_some_and(|it| it.automaton.take_eof()) {
            self.call(key, CloseReason::PeerEnded, |handler, io| handler.eof(io));
        }
    }

    /// Calls the handler of an open connection, sends what it wrote, and does as it says. `finished` is the reason noted for
    /// [`Flow::CloseWhenSent`].
    #[inline]
    fn call(
        &mut self,
        key: Key,
        finished: CloseReason,
        which: impl FnOnce(&mut dyn Handler, &mut Io<'_>) -> Flow,
    ) {
        let Some(connection) = self.slots.connection(key) else { return };
        if connection.automaton.phase() != Phase::Open {
            return;
        }
        let Some(handler) = connection.handler.as_deref_mut() else { return };
        let mut io = Io {
            input: &mut connection.input,
            output: &mut self.writer,
            peer: &connection.peer,
            unsent: connection.automaton.unsent(),
            high: connection.automaton.marks().high,
            wanted: 0,
        };
        let flow = catch_unwind(AssertUnwindSafe(|| which(handler, &mut io)));
        let wanted = io.wanted;
        let ends = match flow {
            Ok(Flow::Continue) => false,
            Ok(Flow::CloseWhenSent) => true,
            Ok(Flow::Abort(error)) => return self.give_up(key, CloseReason::Aborted(error)),
            Err(payload) => {
                drop_payload(payload);
                self.metrics.panics.add(1);
                return self.give_up(key, CloseReason::Panicked);
            }
        };
        // A block that a large message is being received into is kept, however little of it is filled yet.
        if wanted >= LARGE && connection.expects {
            connection.input.compact_all_but_last();
        } else {
            connection.input.compact();
        }
        connection.expects = wanted >= LARGE;
        if !self.writer.is_empty() {
            match self.writer.take() {
                Ok(chain) => {
                    let queued = connection.automaton.queued(chain.len());
                    let taken = self.driver.send(key, chain, None);
                    self.metrics.sent.add(taken as u64);
                    let act = connection.automaton.sent(taken);
                    if let Some(on) = act.receive.or(queued.receive) {
                        self.driver.receive(key, on);
                    }
                    // Called again later in the turn, not from within this call: a handler that answers a few bytes
                    // with many could go on for as long as the socket takes them.
                    if act.call {
                        self.relieved.push(key);
                    }
                }
                Err(error) => return self.give_up(key, CloseReason::Aborted(Box::new(error))),
            }
        }
        if wanted > 0 {
            self.driver.want(key, wanted);
        }
        if ends {
            connection.blame(finished);
            let act = connection.automaton.finish();
            self.carry_out(key, act);
        }
    }

    /// Closes without sending what the handler wrote last.
    fn give_up(&mut self, key: Key, reason: CloseReason) {
        self.writer.discard();
        self.close(key, reason);
    }

    /// Runs code of the application; a panic is counted and contained.
    pub(super) fn guard<R>(&mut self, run: impl FnOnce(&mut Self) -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(result) => Some(result),
            Err(payload) => {
                drop_payload(payload);
                self.metrics.panics.add(1);
                None
            }
        }
    }
}

/// Drops what a panic carried. Dropping it may panic too; what that panic carries is leaked.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
