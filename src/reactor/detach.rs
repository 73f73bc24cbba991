//! Connections that leave their loop, and go on without it.
//!
//! A connection leaves between two calls of its handler, on the loop's thread, so there is no moment at which both the
//! loop and somebody else use its descriptor. What is under way for it then finds a key that nobody has: events in the
//! fetched batch, mail, timers. The slot is used again only after the turn.

use super::Reactor;
use super::scarce::all_kept;
use crate::conn::{CloseReason, DetachError, Detached, Phase};
use crate::driver::{self, Driver, Key};
use crate::service::Detach;

impl<D: Driver> Reactor<D> {
    /// A handler wants its connection to leave. One that has just broken is closed instead.
    pub(super) fn detach_for(&mut self, key: Key, Detach(give): Detach) {
        let detached = self.detach(key);
        // Also when it comes to nothing: what is dropped then is the application's.
        self.guard(|_| {
            if let Ok(detached) = detached {
                give(detached);
            } else {
                drop(give);
            }
        });
    }

    /// Takes an open connection off the loop. Its handler is told of the end.
    pub(super) fn detach(&mut self, key: Key) -> Result<Detached, DetachError> {
        let Some(connection) = self.slots.connection(key) else { return Err(DetachError::Closed) };
        if connection.automaton.phase() != Phase::Open {
            return Err(DetachError::Closed);
        }
        // An event tells why when there is none.
        let Some(found) = self.driver.detach(key) else { return Err(DetachError::Closed) };
        let driver::Detached { socket, mut received, unsent } = found;
        if self.caps.receive_is_scarce {
            received = all_kept(&received, self.driver.pool());
        }
        self.metrics.received.add(received.len() as u64);
        // What was sent and not told yet counts, so that receipts say how far they have come.
        let sent = connection.automaton.unsent().saturating_sub(unsent.len());
        self.metrics.sent.add(sent as u64);
        // Nothing follows from it: the driver does not know the connection any more.
        let _ = connection.sent(sent);
        if let Some(receipts) = &mut connection.receipts {
            receipts.go_elsewhere();
        }
        let mut input = std::mem::take(&mut connection.input);
        input.append(received);
        let peer_ended = connection.automaton.has_peer_ended();
        let shut = connection.automaton.is_shut();
        let peer = crate::net::Address::clone(&connection.peer);
        let fd = D::into_fd(socket);
        let reason = match fd {
            Some(_) => CloseReason::Detached,
            None => CloseReason::Aborted(Box::new(DetachError::NoDescriptor)),
        };
        self.blame(key, reason);
        self.closed(key);
        let fd = fd.ok_or(DetachError::NoDescriptor)?;
        Ok(Detached { fd, peer, received: input, unsent, peer_ended, shut })
    }
}
