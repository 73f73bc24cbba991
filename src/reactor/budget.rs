//! How many connections, and how much memory.
//!
//! **Connections.** At the most a loop's listeners rest until one is closed; a connection that another loop has
//! accepted for this one is refused, which closes it.
//!
//! **Memory.** The blocks of the loop's pool that are in use are compared with the budget once a turn. Over it,
//! nothing more is received on the largest holders of unread bytes, until so much is held back as the excess; the
//! others go on, come to the end of their messages, and give memory back. (What is received in the few turns until
//! enough of them are held comes on top.) If that is not enough, nothing is accepted
//! either. Three quarters of the budget end both; memory that another thread gives back is noticed at once. A holder whose message does not become whole in the meantime is
//! closed at its read limit, so a budget that is used up by peers that have stopped in the middle is free again then.
//! A large message gets a block of its own only while the budget has room for all that were promised one.

use super::Reactor;
use super::call::LARGE;
use super::slots::Entry;
use crate::conn::Hold;
use crate::driver::{Driver, Key};
use crate::trace::event;

/// What a loop holds back.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Connections that are not received from.
    held: Vec<Key>,
    /// The use at which they were chosen.
    chosen_at: usize,
    /// The blocks promised to large messages that are under way, in bytes.
    promised: usize,
    /// Listeners rest: there are too many connections, too little memory, or both.
    crowded: bool,
    short: bool,
}

impl Budget {
    /// A connection is gone that was promised so much.
    pub(super) fn forget(&mut self, promised: usize) {
        self.promised -= promised;
    }

    fn is_full(&self) -> bool {
        self.crowded | self.short
    }
}

impl<D: Driver> Reactor<D> {
    /// The handler waits for `wanted` bytes more of a large message, or did so before.
    #[cold]
    pub(super) fn expect(&mut self, key: Key, wanted: usize) {
        let used = self.used();
        let Some(connection) = self.slots.connection(key) else { return };
        if wanted < LARGE {
            self.budget.promised -= std::mem::take(&mut connection.expects);
        } else if connection.expects == 0 {
            if used + self.budget.promised + wanted > self.options.memory_limit {
                return;
            }
            connection.expects = wanted;
            self.budget.promised += wanted;
        }
        if wanted > 0 {
            self.driver.want(key, wanted);
        }
    }

    /// Whether this loop takes no more connections now.
    pub(super) fn is_full(&self) -> bool {
        self.budget.is_full()
    }

    pub(super) fn has_most_connections(&self) -> bool {
        self.metrics.connections() >= self.options.max_connections as u64
    }

    /// To be asked when a connection has come or gone.
    pub(super) fn mind_connections(&mut self) {
        let crowded = self.has_most_connections();
        if crowded != self.budget.crowded {
            self.rest_if(|budget| budget.crowded = crowded);
        }
    }

    /// Notes a reason to rest, or that it is none any more, and lets the listeners rest or go on.
    fn rest_if(&mut self, note: impl FnOnce(&mut Budget)) {
        let before = self.budget.is_full();
        note(&mut self.budget);
        let on = !self.budget.is_full();
        if before != on {
            return;
        }
        let resting = &self.resting;
        let listeners =
            self.slots.keys().filter(|key| matches!(self.slots.get(*key), Some(Entry::Listener(_))));
        for key in listeners.filter(|key| !resting.iter().any(|(_, resting)| resting == key)) {
            if let (false, Some(Entry::Listener(metrics))) = (on, self.slots.get(key)) {
                metrics.full.add(1);
            }
            self.driver.receive(key, on);
        }
    }

    /// Compares the pool's use with the budget. To be called once a turn.
    pub(super) fn mind_memory(&mut self) {
        let used = self.used();
        let holds = !self.budget.held.is_empty() || self.budget.short;
        if used <= self.options.memory_limit && !holds {
            return;
        }
        // The memory may be with other threads: what they give back ends a sleep, and comes by here.
        self.driver.watch_memory();
        let used = self.used();
        if used > self.options.memory_limit {
            let slots = &mut self.slots;
            self.budget.held.retain(|key| slots.connection(*key).is_some());
            if self.budget.held.is_empty() || used > self.budget.chosen_at {
                self.hold_largest(used);
            }
        } else if used <= self.options.memory_limit / 4 * 3 {
            self.let_go();
        }
    }

    fn used(&self) -> usize {
        let usage = self.driver.usage();
        self.metrics.pool.set(&usage);
        usage.mapped - usage.free
    }

    /// Stops receiving on the largest holders.
    fn hold_largest(&mut self, used: usize) {
        self.budget.chosen_at = used;
        event!(WARN, used, limit = self.options.memory_limit, "over the memory budget");
        let mut holders: Vec<(usize, Key)> = Vec::new();
        for key in self.connection_keys() {
            if let Some(connection) = self.slots.connection(key)
                && !connection.automaton.is_held(Hold::Memory)
                && let held @ 1.. = connection.held()
            {
                holders.push((held, key));
            }
        }
        holders.sort_unstable();
        let mut excess = used - self.options.memory_limit;
        while let Some((bytes, key)) = holders.pop() {
            if let Some(connection) = self.slots.connection(key) {
                let act = connection.automaton.hold(Hold::Memory);
                self.budget.held.push(key);
                self.metrics.memory_holds.add(1);
                self.carry_out(key, act);
            }
            if bytes >= excess {
                return;
            }
            excess -= bytes;
        }
        // All that hold anything are held.
        self.rest_if(|budget| budget.short = true);
    }

    fn let_go(&mut self) {
        for key in std::mem::take(&mut self.budget.held) {
            if let Some(connection) = self.slots.connection(key) {
                let act = connection.automaton.release(Hold::Memory);
                self.carry_out(key, act);
            }
        }
        self.rest_if(|budget| budget.short = false);
    }
}
