//! The slots of a loop: who has which key.

use super::ListenerMetrics;
use super::dial::Connecting;
use crate::conn::Connection;
use crate::driver::{Key, KeyTable};
use crate::sync::Arc;

/// What a slot holds.
#[derive(Debug)]
pub(super) enum Entry {
    Listener(Arc<ListenerMetrics>),
    Connection(Connection),
    /// A connection that is being established.
    Connecting(Box<Connecting>),
    /// Something that has no handler; it stays until the driver has closed it.
    Closing(Closing),
}

/// What is being closed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Closing {
    /// A connection, which was counted when it came.
    Connection,
    /// A dial, which has not become one.
    Dial,
}

/// Allocates keys. A key that was given up is used again, under a new generation, after the next
/// [`reclaim`](Self::reclaim).
#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: KeyTable<Entry>,
    free: Vec<Key>,
    retired: Vec<Key>,
    fresh: u32,
}

impl Slots {
    /// A key that nobody uses. It must be filled with `insert`, or given back with `retire`.
    pub(super) fn reserve(&mut self) -> Key {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.fresh;
            self.fresh += 1;
            Key::new(slot, 1)
        })
    }

    pub(super) fn insert(&mut self, key: Key, entry: Entry) {
        let old = self.entries.insert(key, entry);
        debug_assert!(old.is_none(), "a reserved key is free");
    }

    /// Takes an entry out; its slot becomes free at the next [`reclaim`](Self::reclaim).
    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.retire(key);
        Some(entry)
    }

    /// Takes an entry out whose slot stays reserved.
    pub(super) fn vacate(&mut self, key: Key) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// Gives a reserved key back.
    pub(super) fn retire(&mut self, key: Key) {
        self.retired.push(key);
    }

    /// Frees the slots given up in this turn.
    pub(super) fn reclaim(&mut self) {
        let next = |key: Key| Key::new(key.slot(), key.generation().wrapping_add(1));
        self.free.extend(self.retired.drain(..).map(next));
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    #[inline]
    pub(super) fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        match self.entries.get_mut(key) {
            Some(Entry::Connection(connection)) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn key_of(&self, slot: u32) -> Option<Key> {
        self.entries.key_of(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.entries.keys()
    }
}
