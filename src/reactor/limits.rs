//! How long a connection may take.
//!
//! | limit | begins | begins anew | ends |
//! |---|---|---|---|
//! | idle | the connection opens | a byte goes either way | never, while a limit is set |
//! | read | a call leaves bytes unread: a message has begun | the handler has read some, and others are left | nothing is left; or the handler is kept from reading |
//! | write | bytes wait to be sent | the transport takes some | none wait |
//! | linger | everything is sent, and our direction ended | | the peer ends its own |
//!
//! While a handler has work under way ([`Io::set_busy`](crate::service::Io::set_busy)), idle and read limits that are
//! over begin anew.
//!
//! A connection keeps its deadlines, and has one timer in the wheel, at the first of them or earlier. So to begin
//! anew is to store a moment: no timer is moved, and no system call is made. A timer that comes up before any of the
//! connection's deadlines is armed for the first one then.
//!
//! The clock is asked at most twice a turn: before the first limit begins, if one does, and when limits are met, if
//! there are any.

use std::time::{Duration, Instant};

use super::Reactor;
use crate::conn::{Limit, Phase};
use crate::driver::{Driver, Key};

/// A limit that begins anew because it was over does so for this long at least: it must not be over in the same turn.
const SHORTEST: Duration = Duration::from_millis(1);

impl<D: Driver> Reactor<D> {
    /// The moment at which this part of the turn began, or a little later.
    #[inline]
    pub(super) fn now(&mut self) -> Instant {
        let driver = &self.driver;
        *self.now.get_or_insert_with(|| driver.now())
    }

    /// Begins a limit, or begins it anew.
    #[inline]
    pub(super) fn begin(&mut self, key: Key, limit: Limit, length: Duration) {
        // A limit beyond the end of time is none.
        let Some(at) = self.now().checked_add(length) else { return };
        let Some(connection) = self.slots.connection(key) else { return };
        connection.deadlines.set(limit, Some(at));
        self.wheel.arm_by(key.slot(), at);
    }

    /// A byte has gone either way.
    #[inline]
    pub(super) fn mind_idle(&mut self, key: Key) {
        if let Some(length) = self.options.idle_limit {
            self.begin(key, Limit::Idle, length);
        }
    }

    /// A call has left bytes of a message that has begun, or has read the last of one. `consumed` says whether it has
    /// read any.
    pub(super) fn mind_reading(&mut self, key: Key, consumed: bool) {
        let Some(length) = self.options.read_limit else { return };
        let Some(connection) = self.slots.connection(key) else { return };
        let waits = !connection.input.is_empty() && connection.automaton.may_call();
        let begun = connection.deadlines.get(Limit::Read).is_some();
        if !waits {
            connection.deadlines.set(Limit::Read, None);
        } else if consumed || !begun {
            self.begin(key, Limit::Read, length);
        }
    }

    /// Bytes were queued or sent. `progress` says whether any were sent.
    pub(super) fn mind_writing(&mut self, key: Key, progress: bool) {
        let Some(length) = self.options.write_limit else { return };
        let Some(connection) = self.slots.connection(key) else { return };
        let begun = connection.deadlines.get(Limit::Write).is_some();
        if connection.automaton.unsent() == 0 {
            connection.deadlines.set(Limit::Write, None);
        } else if progress || !begun {
            self.begin(key, Limit::Write, length);
        }
    }

    /// Closes the connections whose patience has ended.
    pub(super) fn meet_limits(&mut self) {
        if self.wheel.is_empty() {
            return;
        }
        let now = self.now();
        while let Some(slot) = self.wheel.expired(now) {
            let Some(key) = self.slots.key_of(slot) else { continue };
            self.meet_limit(key, now);
        }
    }

    fn meet_limit(&mut self, key: Key, now: Instant) {
        if self.meet_dial(key, now) {
            return;
        }
        let Some(connection) = self.slots.connection(key) else { return };
        let (busy, phase) = (connection.busy, connection.automaton.phase());
        let reads = connection.automaton.may_call();
        while let Some(limit) = connection.deadlines.take_due(now) {
            let again = match limit {
                Limit::Linger if phase != Phase::Lingering => None,
                Limit::Read if !reads => None,
                Limit::Idle if busy => self.options.idle_limit,
                Limit::Read if busy => self.options.read_limit,
                _ => return self.close(key, limit.reason()),
            };
            let next = again.and_then(|length| now.checked_add(length.max(SHORTEST)));
            connection.deadlines.set(limit, next);
        }
        if let Some(at) = connection.deadlines.first() {
            self.wheel.arm(key.slot(), at);
        }
    }
}
