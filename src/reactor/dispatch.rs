//! Events of the driver, through the automaton of the connection, to acts.

use std::time::Instant;

use super::Reactor;
use super::slots::Entry;
use crate::conn::{Act, Arrival, CloseReason, Phase};
use crate::driver::{Driver, Event, Key};

impl<D: Driver> Reactor<D> {
    /// Handles one event. An event for a key that is not in use any more is dropped.
    #[inline]
    pub(super) fn dispatch(&mut self, event: Event<D::Socket>) {
        match event {
            Event::Received(key, segment) => {
                self.metrics.received.add(segment.len() as u64);
                let Some(connection) = self.slots.connection(key) else { return };
                match connection.automaton.received() {
                    Arrival::Handle => {
                        connection.input.push(segment);
                        self.call_data(key);
                    }
                    Arrival::Keep => {
                        connection.input.push(segment);
                        connection.input.compact();
                    }
                    Arrival::Discard => {}
                }
            }
            Event::Sent(key, bytes) => {
                self.metrics.sent.add(bytes as u64);
                let Some(connection) = self.slots.connection(key) else { return };
                let act = connection.sent(bytes);
                self.carry_out(key, act);
            }
            Event::Incoming(_, socket) => self.incoming(socket),
            Event::Eof(key) => {
                let Some(connection) = self.slots.connection(key) else { return };
                let act = connection.automaton.ended();
                self.carry_out(key, act);
            }
            Event::Error(key, error) => self.close(key, CloseReason::Broken(error)),
            Event::Closed(key) => self.closed(key),
            Event::AcceptFailed(key, _) => self.rest_listener(key),
            Event::Connected(_) | Event::Released(..) => {}
        }
    }

    /// Closes a connection, for a reason that counts unless there was one before. That everything is sent is no
    /// reason any more when it was not.
    pub(super) fn close(&mut self, key: Key, reason: CloseReason) {
        let Some(connection) = self.slots.connection(key) else { return };
        if connection.automaton.phase() == Phase::Flushing {
            connection.reason = None;
        }
        connection.blame(reason);
        let act = connection.automaton.close();
        self.carry_out(key, act);
    }

    /// Does what the automaton says.
    #[inline]
    pub(super) fn carry_out(&mut self, key: Key, act: Act) {
        if !act.is_nothing() {
            self.carry_out_some(key, act);
        }
    }

    fn carry_out_some(&mut self, key: Key, act: Act) {
        if let Some(on) = act.receive {
            self.driver.receive(key, on);
        }
        if act.shutdown {
            self.driver.shutdown(key);
        }
        if act.linger
            && let Some(until) = Instant::now().checked_add(self.options.linger_limit)
        {
            self.lingering.push_back((until, key));
        }
        if act.close {
            self.driver.close(key);
        }
        if act.call {
            self.call_pending(key);
        }
        if let Some(connection) = self.slots.connection(key)
            && connection.automaton.phase() != Phase::Open
            && let Some(handle) = &connection.handle
        {
            handle.retire();
        }
    }

    /// The driver has closed: the handler learns of it, and the slot becomes free.
    pub(super) fn closed(&mut self, key: Key) {
        let mut connection = match self.slots.remove(key) {
            Some(Entry::Connection(connection)) => connection,
            Some(Entry::Closing) => return self.metrics.closed.add(1),
            Some(Entry::Listener) | None => return,
        };
        connection.automaton.closed();
        if let Some(handle) = &connection.handle {
            handle.retire();
        }
        self.metrics.closed.add(1);
        let reason = connection.reason.map_or(CloseReason::Finished, |reason| *reason);
        if let Some(handler) = connection.handler {
            self.guard(|_| handler.closed(reason));
        }
    }
}
