//! Events of the driver, through the automaton of the connection, to acts.

use super::Reactor;
use super::slots::{Closing, Entry};
use crate::buffer::Chain;
use crate::conn::{Act, Arrival, CloseReason, Limit, Phase};
use crate::driver::{Driver, Event, Key};
use crate::trace::event;

impl<D: Driver> Reactor<D> {
    /// Handles one event. An event for a key that is not in use any more is dropped.
    #[inline]
    pub(super) fn dispatch(&mut self, event: Event<D::Socket>) {
        match event {
            Event::Received(key, segment) => {
                self.metrics.received.add(segment.len() as u64);
                self.mind_idle(key);
                let Some(connection) = self.slots.connection(key) else { return };
                match connection.automaton.received() {
                    arrival @ (Arrival::Handle | Arrival::Keep) if self.caps.receive_is_scarce => {
                        self.received_scarce(key, segment, arrival);
                    }
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
                self.mind_writing(key, true);
                self.mind_idle(key);
                self.carry_out(key, act);
            }
            Event::Incoming(key, socket) => self.incoming(key, socket),
            Event::Eof(key) => {
                let Some(connection) = self.slots.connection(key) else { return };
                let act = connection.automaton.ended();
                self.carry_out(key, act);
            }
            Event::Leaving(key) => self.call_leaving(key),
            Event::Error(key, error) => match self.slots.get(key) {
                Some(Entry::Listener(_)) => {
                    self.broken.get_or_insert(error);
                }
                Some(Entry::Connecting(_)) => self.attempt_failed(key, error),
                _ => self.close(key, CloseReason::Broken(error)),
            },
            Event::Closed(key) => self.closed(key),
            Event::AcceptFailed(key, error) => self.rest_listener(key, &error),
            Event::Connected(key) => self.connected(key),
            Event::Released(..) => {}
        }
    }

    /// Closes a connection, for a reason that counts unless there was one before. That everything is sent is no
    /// reason any more when it was not.
    pub(super) fn close(&mut self, key: Key, reason: CloseReason) {
        let connection = self.slots.connection(key);
        let flushing = connection.filter(|it| it.automaton.phase() == Phase::Flushing);
        if let Some(former) = flushing.and_then(|it| it.reason.take()) {
            self.guard(|_| drop(former));
        }
        self.blame(key, reason);
        if let Some(connection) = self.slots.connection(key) {
            let act = connection.automaton.close();
            self.carry_out(key, act);
        }
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
            self.set_receiving(key, on);
        }
        if act.shutdown {
            self.driver.shutdown(key);
        }
        if act.linger {
            self.begin(key, Limit::Linger, self.options.linger_limit);
        }
        if act.close {
            self.driver.close(key);
        }
        if act.call {
            self.call_pending(key);
        }
        if let Some(connection) = self.slots.connection(key) {
            let open = connection.automaton.phase() == Phase::Open;
            if (!open || connection.automaton.is_shut())
                && let Some(handle) = &connection.handle
            {
                handle.retire();
            }
            if !open {
                // Nobody will read it, and it may take long until everything is sent.
                connection.input = Chain::new();
                let promised = std::mem::take(&mut connection.expects);
                self.budget.forget(promised);
            }
        }
    }

    fn set_receiving(&mut self, key: Key, on: bool) {
        let open = self.slots.connection(key).is_some_and(|it| it.automaton.phase() == Phase::Open);
        if open && !on {
            self.metrics.pauses.add(1);
        }
        self.driver.receive(key, on);
    }

    /// The driver has closed: the handler learns of it, and the slot becomes free.
    pub(super) fn closed(&mut self, key: Key) {
        let mut connection = match self.slots.remove(key) {
            Some(Entry::Connection(connection)) => connection,
            Some(Entry::Closing(Closing::Connection)) => return self.gone(),
            Some(Entry::Closing(Closing::Dial) | Entry::Connecting(_) | Entry::Listener(_)) | None => return,
        };
        connection.automaton.closed();
        if let Some(handle) = &connection.handle {
            handle.end();
        }
        self.wheel.disarm(key.slot());
        self.budget.forget(connection.expects);
        self.gone();
        let reason = connection.reason.map_or(CloseReason::Finished, |reason| *reason);
        self.metrics.closed_by.counter(&reason).add(1);
        // An error of the application may panic when it is shown, and when it is dropped.
        self.guard(|_| {
            event!(DEBUG, ?key, peer = %connection.peer, %reason, "closed");
        });
        self.guard(|_| match connection.handler {
            Some(handler) => handler.closed(reason),
            None => drop(reason),
        });
    }

    /// A connection is gone, or has come to nothing.
    pub(super) fn gone(&mut self) {
        self.metrics.closed.add(1);
        self.mind_connections();
    }
}
