//! What all connections of one service share on one loop: the calls that are under way.
//!
//! Calls go out, one box each, to whoever answers them, and the boxes come back with the answers into the lane's tray.
//! The loop looks at the tray once a turn, and calls the handler of each connection that has answers there, once for
//! all of them; so what they write leaves in one piece.
//!
//! Calls for a pool are collected until the end of the turn, from all connections, and handed over at once. While calls
//! wait that no worker has come for, the loop looks again after a [while](PATIENCE) at the latest: if none was begun in
//! the meantime, those workers that are awake are in slow calls, and another one is woken. Calls that are collected
//! later in a turn than its end (a handler may be called then, when receiving goes on) are handed over in the next one,
//! before which the loop does not sleep.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::call::{Answer, Boxed, Call, Caller, Home, Line, Shop};
use super::local::{Clock, Local};
use super::pool::Job;
use super::{Codec, WorkPool};
use crate::driver::Key;
use crate::handover::{Parcel, Tray, Wake};
use crate::sync::Arc;

/// How long a call waits for a worker, while all that are awake are in slow calls, until another one is woken.
const PATIENCE: Duration = Duration::from_millis(1);

/// Boxes that are kept for later calls.
const MOST_SPARE: usize = 1024;

/// See the module's documentation.
pub(super) struct Lane<C: Codec> {
    tray: Tray<Call<C>, Shop<C>>,
    /// Boxes that have come back and are not taken yet: by key, smallest last, and for each key the oldest last.
    arrived: Vec<(Key, Boxed<C>)>,
    returned: Vec<Boxed<C>>,
    /// Those that no handler has wanted.
    unwanted: Vec<Boxed<C>>,
    spare: Vec<Boxed<C>>,
    serials: u32,
    /// One share is the lane's own, the others are those of handlers that have a part in it.
    parts: Rc<()>,
    pool: Option<WorkPool>,
    /// Calls of this turn for the pool.
    ready: Vec<Box<dyn Job>>,
    /// While calls wait in the pool: how many it had begun when that was seen to change last, and when.
    waiting: Option<(u64, Instant)>,
}

impl<C: Codec> Lane<C> {
    pub(super) fn new(owner: Box<dyn Wake>, shop: Shop<C>, pool: Option<WorkPool>) -> Self {
        Self {
            pool,
            ready: Vec::new(),
            waiting: None,
            tray: Tray::new(owner, shop),
            arrived: Vec::new(),
            returned: Vec::new(),
            unwanted: Vec::new(),
            spare: Vec::new(),
            serials: 0,
            parts: Rc::default(),
        }
    }

    /// A number for a handler, to tell it from others that its connection may have.
    pub(super) fn next_serial(&mut self) -> u32 {
        self.serials = self.serials.wrapping_add(1);
        self.serials
    }

    /// What a handler keeps for as long as it has a part in the lane.
    pub(super) fn share(&self) -> Rc<()> {
        Rc::clone(&self.parts)
    }

    /// A way of answers to this lane, for one connection.
    pub(super) fn home(&self) -> Home<C> {
        Arc::new(Line::new(self.tray.way_back()))
    }

    /// A box for a call.
    pub(super) fn pack(&mut self, call: Call<C>) -> Boxed<C> {
        match self.spare.pop() {
            Some(mut spare) => {
                *spare.open() = call;
                spare
            }
            None => Parcel::new(call),
        }
    }

    /// Takes a call for the pool, whose answer goes `home`.
    pub(super) fn hand_over(&mut self, from: Caller, home: Home<C>, tag: C::Tag, message: C::In) {
        let home = Some(home);
        let call = self.pack(Call { from, tag: Some(tag), message: Some(message), answer: None, home });
        self.ready.push(call);
    }

    /// The next answer for a handler, the oldest first.
    pub(super) fn next(&mut self, key: Key, serial: u32) -> Option<(Caller, C::Tag, Answer<C>)> {
        // Those of smaller keys are for handlers that did not want them.
        while let Some((_, mut call)) = self.arrived.pop_if(|(of, _)| *of <= key) {
            let content = call.open();
            let from = content.from;
            if (from.key, from.serial) != (key, serial) {
                // Not dropped here: it is none of the handler's that is being called.
                self.unwanted.push(call);
                continue;
            }
            let (tag, answer) = (content.tag.take(), content.answer.take());
            self.keep(call);
            if let (Some(tag), Some(answer)) = (tag, answer) {
                return Some((from, tag, answer));
            }
        }
        None
    }

    /// Keeps an empty box for later.
    fn keep(&mut self, call: Boxed<C>) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(call);
        }
    }
}

impl<C: Codec> Local for Lane<C> {
    fn has_news(&self) -> bool {
        !self.tray.is_empty()
    }

    fn collect(&mut self, keys: &mut Vec<Key>) {
        self.tray.take(&mut self.returned);
        // The newest comes first, and the sort is stable: of each key, the oldest is the last.
        self.arrived.extend(self.returned.drain(..).map(|mut call| (call.open().from.key, call)));
        self.arrived.sort_by_key(|(key, _)| Reverse(*key));
        keys.extend(self.arrived.iter().rev().map(|(key, _)| *key));
        keys.dedup();
    }

    fn forget_one(&mut self) -> bool {
        self.unwanted.pop().or_else(|| self.arrived.pop().map(|(_, call)| call)).is_some()
    }

    fn end_turn(&mut self, clock: &mut Clock<'_>) {
        let Some(pool) = &self.pool else { return };
        let pool = pool.shared();
        let more = !self.ready.is_empty();
        if more {
            pool.hand_over(self.ready.drain(..));
        }
        if (more || self.waiting.is_some()) && pool.is_waiting() {
            let (begun, now) = (pool.begun(), clock());
            let (seen, since) = self.waiting.unwrap_or((begun, now));
            let stuck = seen == begun && now >= since + PATIENCE;
            if stuck {
                pool.wake_one(true);
            }
            self.waiting = Some(if seen == begun && !stuck { (seen, since) } else { (begun, now) });
        } else {
            self.waiting = None;
        }
    }

    fn rest(&self) -> Option<Duration> {
        // Calls that came after the end of the turn wait for the next.
        if self.ready.is_empty() { self.waiting.map(|_| PATIENCE) } else { Some(Duration::ZERO) }
    }

    fn is_unused(&self) -> bool {
        Rc::strong_count(&self.parts) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Frame;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    /// A loop does not sleep on calls that were collected after the end of its turn.
    #[test]
    fn calls_that_come_late_in_a_turn_are_not_slept_on() {
        let pool = WorkPool::new(1).expect("a thread");
        let mut lane = Lane::<Frame>::new(Box::new(Nobody), None, Some(pool.clone()));
        assert_eq!(lane.rest(), None);
        let from = Caller { key: Key::new(0, 1), serial: 0, number: 0, bytes: 1 };
        lane.hand_over(from, lane.home(), (), Default::default());
        assert_eq!(lane.rest(), Some(Duration::ZERO));
        lane.end_turn(&mut Instant::now);
        assert!(lane.rest() != Some(Duration::ZERO), "it was handed over");
    }
}
