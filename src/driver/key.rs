//! Names for connections that cannot be mistaken for each other.

use std::fmt;

/// Names one connection or listener of one loop: a slot, and the generation of its use. A slot is used again under
/// another generation, so whatever is still under way for its former user is recognised as stale.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// The key of a slot's use.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The slot.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of the word")]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// Which use of the slot this is.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The key in one word, for a kernel that hands words back.
    #[inline]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// The key in a word made by [`to_word`](Self::to_word).
    #[inline]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.slot(), self.generation())
    }
}

/// Values by key. A lookup with a stale key finds nothing.
#[derive(Debug)]
pub struct KeyTable<T> {
    entries: Vec<Entry<T>>,
    len: usize,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for KeyTable<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), len: 0 }
    }
}

impl<T> KeyTable<T> {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value in, and answers the one that its slot held.
    pub fn insert(&mut self, key: Key, value: T) -> Option<T> {
        let slot = key.slot() as usize;
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, || Entry { generation: 0, value: None });
        }
        self.entries[slot].generation = key.generation();
        let old = self.entries[slot].value.replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// The value of a key.
    #[inline]
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.entries
            .get(key.slot() as usize)
            .filter(|entry| entry.generation == key.generation())?
            .value
            .as_ref()
    }

    /// The value of a key, to change.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries
            .get_mut(key.slot() as usize)
            .filter(|entry| entry.generation == key.generation())?
            .value
            .as_mut()
    }

    /// Takes the value of a key out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry =
            self.entries.get_mut(key.slot() as usize).filter(|entry| entry.generation == key.generation())?;
        let value = entry.value.take();
        self.len -= usize::from(value.is_some());
        value
    }

    /// The key under which a slot is in use.
    #[must_use]
    pub fn key_of(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize)?;
        entry.value.as_ref().map(|_| Key::new(slot, entry.generation))
    }

    /// The keys in use, by slot.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        (0u32..)
            .zip(&self.entries)
            .filter_map(|(slot, entry)| entry.value.as_ref().map(|_| Key::new(slot, entry.generation)))
    }
}
