//! Connections that are brought to a loop from other threads: dialled, or adopted.
//!
//! A dial has a slot of its own from the start, and lives on the loop's thread until it ends, once, in one of these
//! ways. Whoever waits for it has no part in that: it sees the answer, and may be gone by then.
//!
//! ```text
//!              connect fails, or breaks: the next address, in another slot
//!             +------------+
//!             v            |
//!   Dial --> connecting ---+---> established: handler made, `open` called, answered with a handle
//!             |   ^        +---> no address is left ----------> Failed
//!   queue full|   |a moment later (Unix sockets)
//!             v   |        +---> the time is over ------------> TimedOut
//!            resting ------+---> the loop stops --------------> Stopped
//!                          +---> nobody waits any more -------> (nobody to be told)
//! ```
//!
//! # Races
//!
//! * *The connection is established when its time is over, or when it is given up* (X-5, X-25). Both are looked at on
//!   the loop's thread; what comes first takes the dial out of its slot, and the other finds none. A slot whose dial
//!   was taken out is closed, and is nobody's until the driver has told so.
//! * *The waiter goes when the answer is on its way.* The answer carries the connection; when nobody takes it out, it
//!   is dropped with the one-shot, and that closes the connection. So a wait that was given up never leaves a
//!   connection behind. To have a dial ended early, a waiter that goes drops its end first, then sends `Sweep`: the
//!   loop that reads it finds the one-shot abandoned.
//! * *The loop stops when a dial is in its mailbox.* A loop that drains refuses it; one that has ended has closed its
//!   mailbox, and the dial is dropped there or comes back to the dialer. Each of them is the answer `Stopped`.

mod request;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::slots::{Closing, Entry};
use super::{Reactor, stop};
use crate::conn::Door as _;
use crate::driver::{Driver, Key};
use crate::net::Address;
use crate::service::Peer;
use request::Established;
pub(crate) use request::{Adopt, Answer, Dial, Join, Luggage, Request, Way};
pub use request::{Attempt, DialError};

/// How long a dial rests when a listener's queue is full and nobody tells when there is room: doubled each time, from
/// the first of these to the second.
const SHORT_REST: Duration = Duration::from_millis(1);
const LONG_REST: Duration = Duration::from_millis(64);

/// A dial under way.
#[derive(Debug)]
pub(super) struct Connecting {
    /// The address that is being tried, and those to be tried after it.
    address: Address,
    others: VecDeque<Address>,
    failed: Vec<Attempt>,
    local: Option<SocketAddr>,
    deadline: Option<Instant>,
    /// When to try the address again; the driver does not know the slot until then.
    again: Option<Instant>,
    rest: Duration,
    join: Join,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("promise", &self.promise).finish_non_exhaustive()
    }
}

impl Connecting {
    /// Goes on to the next address after an error; comes back as an error itself when there is none.
    fn after(mut self: Box<Self>, error: io::Error) -> Result<Box<Self>, Box<Self>> {
        let Some(next) = self.others.pop_front() else {
            let address = self.address.clone();
            self.failed.push(Attempt { address, error });
            return Err(self);
        };
        let address = std::mem::replace(&mut self.address, next);
        self.failed.push(Attempt { address, error });
        self.rest = SHORT_REST;
        Ok(self)
    }

    /// When to look at it next.
    fn due(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.again).min()
    }
}

impl<D: Driver> Reactor<D> {
    /// Does what another thread asks for.
    pub(super) fn carry_out_request(&mut self, request: Request) {
        match request {
            Request::Sweep => self.sweep = true,
            Request::Dial(dial) if self.stopping != stop::Level::Run => {
                self.refuse(dial.join, DialError::Stopped);
            }
            Request::Adopt(adopt) if self.stopping != stop::Level::Run => {
                self.refuse(adopt.join, DialError::Stopped);
            }
            Request::Dial(dial) => self.dial(*dial),
            Request::Adopt(adopt) => self.adopt(*adopt),
        }
    }

    /// Ends the dials that nobody waits for any more. Once for all that were given up.
    pub(super) fn sweep_dials(&mut self) {
        if !std::mem::take(&mut self.sweep) {
            return;
        }
        let abandoned = |key: &Key| matches!(self.slots.get(*key), Some(Entry::Connecting(it)) if it.join.promise.is_abandoned());
        for key in self.dials.iter().copied().filter(abandoned).collect::<Vec<_>>() {
            if let Some(connecting) = self.take_dial(key) {
                self.refuse(connecting.join, DialError::Stopped);
            }
        }
    }

    /// Ends every dial, for a loop that stops.
    pub(super) fn refuse_dials(&mut self) {
        while let Some(key) = self.dials.first().copied() {
            if let Some(connecting) = self.take_dial(key) {
                self.refuse(connecting.join, DialError::Stopped);
            }
        }
    }

    fn dial(&mut self, dial: Dial) {
        let Dial { mut addresses, local, timeout, join } = dial;
        let Some(address) = addresses.pop_front() else {
            return self.refuse(join, DialError::NoAddress);
        };
        if self.has_most_connections() {
            return self.refuse(join, DialError::Full);
        }
        self.metrics.dials.add(1);
        let deadline = timeout.and_then(|timeout| self.now().checked_add(timeout));
        let key = self.slots.reserve();
        let connecting = Connecting {
            address,
            others: addresses,
            failed: Vec::new(),
            local,
            deadline,
            again: None,
            rest: SHORT_REST,
            join,
        };
        self.connect(key, Box::new(connecting));
    }

    /// Tries one address after another until the driver has something under way. The key is reserved.
    fn connect(&mut self, key: Key, mut it: Box<Connecting>) {
        it.again = None;
        while let Err(error) = self.driver.connect(key, &it.address, it.local) {
            if error.kind() == io::ErrorKind::WouldBlock {
                it.again = Some(self.now() + it.rest);
                it.rest = LONG_REST.min(it.rest * 2);
                break;
            }
            it = match it.after(error) {
                Ok(it) => it,
                Err(it) => {
                    self.slots.retire(key);
                    return self.dial_fails(*it);
                }
            };
        }
        if let Some(at) = it.due() {
            self.wheel.arm(key.slot(), at);
        }
        self.slots.insert(key, Entry::Connecting(it));
        self.dials.insert(key);
    }

    /// Takes a dial out of its slot, which is closed.
    fn take_dial(&mut self, key: Key) -> Option<Box<Connecting>> {
        if !self.dials.remove(&key) {
            return None;
        }
        self.wheel.disarm(key.slot());
        let Some(Entry::Connecting(connecting)) = self.slots.vacate(key) else { return None };
        if connecting.again.is_some() {
            // The driver does not know it.
            self.slots.retire(key);
        } else {
            self.slots.insert(key, Entry::Closing(Closing::Dial));
            self.driver.close(key);
        }
        Some(connecting)
    }

    /// Something is due for a dial: its next try, or its end. Answers whether the slot has one.
    pub(super) fn meet_dial(&mut self, key: Key, now: Instant) -> bool {
        let Some(Entry::Connecting(connecting)) = self.slots.get(key) else { return false };
        let over = connecting.deadline.is_some_and(|at| at <= now);
        let again = connecting.again.is_some_and(|at| at <= now);
        if over {
            if let Some(it) = self.take_dial(key) {
                self.metrics.dials_failed.add(1);
                self.refuse(it.join, DialError::TimedOut(it.failed));
            }
        } else if again {
            self.dials.remove(&key);
            if let Some(Entry::Connecting(connecting)) = self.slots.vacate(key) {
                self.connect(key, connecting);
            }
        } else if let Some(at) = connecting.due() {
            self.wheel.arm(key.slot(), at);
        }
        true
    }

    /// The attempt under way has failed: the next address is tried in another slot.
    pub(super) fn attempt_failed(&mut self, key: Key, error: io::Error) {
        let Some(it) = self.take_dial(key) else { return };
        match it.after(error) {
            Ok(it) => {
                let key = self.slots.reserve();
                self.connect(key, it);
            }
            Err(it) => self.dial_fails(*it),
        }
    }

    fn dial_fails(&mut self, it: Connecting) {
        self.metrics.dials_failed.add(1);
        self.refuse(it.join, DialError::Failed(it.failed));
    }

    /// Nothing comes of a connection. What would have made its handler is dropped here, and belongs to the application.
    fn refuse(&mut self, Join { make, promise }: Join, why: DialError) {
        self.guard(|_| drop(make));
        promise.fulfil(Err(why));
    }

    /// A dial has succeeded: its slot becomes a connection.
    pub(super) fn connected(&mut self, key: Key) {
        if !self.dials.remove(&key) {
            return;
        }
        self.wheel.disarm(key.slot());
        let Some(Entry::Connecting(connecting)) = self.slots.vacate(key) else { return };
        if self.has_most_connections() {
            // Others have come about since it was begun.
            self.slots.insert(key, Entry::Closing(Closing::Dial));
            self.driver.close(key);
            self.metrics.dials_failed.add(1);
            return self.refuse(connecting.join, DialError::Full);
        }
        self.metrics.opened.add(1);
        self.join(key, connecting.address, Luggage::default(), connecting.join);
    }

    fn adopt(&mut self, Adopt { fd, peer, luggage, join }: Adopt) {
        if self.has_most_connections() {
            return self.refuse(join, DialError::Full);
        }
        let Some(socket) = D::from_fd(fd, peer.clone()) else {
            return self.refuse(join, DialError::NotTaken);
        };
        let key = self.slots.reserve();
        if self.driver.attach(key, socket).is_err() {
            self.slots.retire(key);
            return self.refuse(join, DialError::NotTaken);
        }
        self.metrics.opened.add(1);
        self.join(key, peer, luggage, join);
    }

    /// Makes a connection of what the driver has under this key, and answers with its handle.
    fn join(&mut self, key: Key, address: Address, luggage: Luggage, Join { make, promise }: Join) {
        if promise.is_abandoned() {
            self.close_unopened(key);
            return self.refuse(Join { make, promise }, DialError::Stopped);
        }
        let peer = Peer { address };
        let handler = self.guard(|_| make(&peer));
        let handle = handler.is_some().then(|| self.mailbox.handle(key));
        match handler {
            Some(handler) => self.open(key, peer, handler, handle.clone(), luggage),
            None => self.close_unopened(key),
        }
        promise.fulfil(handle.map(Established::new).ok_or(DialError::Panicked));
    }
}
