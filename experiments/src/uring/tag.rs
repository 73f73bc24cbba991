//! What a completion says it belongs to: a word that goes into the kernel with an operation and comes back with each of
//! its completions. Never a pointer.

use std::fmt;

/// Names one use of a place in the driver's table. A place is used again under another generation, so a completion of
/// the former user finds nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({}, {})", self.index, self.generation)
    }
}

/// Which of an entry's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Its one incoming operation: accepting, receiving, waiting for a connect or a hang-up.
    Incoming,
    /// Its one outgoing operation: a send.
    Outgoing,
    /// A send that lends its memory. The place is one in the table of loans, not of entries.
    Loan,
    /// The cancellation of the incoming operation.
    CancelIncoming,
    /// The cancellation of the outgoing operation, lending or not.
    CancelOutgoing,
    /// The poll of the bell.
    Bell,
}

/// Class, place and generation in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tag(u64);

impl Tag {
    /// Places that a tag can name.
    pub(super) const MOST_PLACES: u32 = 1 << 24;

    pub(super) fn new(class: Class, id: Id) -> Self {
        debug_assert!(id.index < Self::MOST_PLACES, "a place that fits into a tag");
        Self(u64::from(id.generation) << 32 | u64::from(id.index) << 8 | class as u64)
    }

    /// What it belongs to; `None` for a word that no driver makes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "parts of the word")]
    pub(super) fn parts(self) -> Option<(Class, Id)> {
        const CLASSES: [Class; 6] = [
            Class::Incoming,
            Class::Outgoing,
            Class::Loan,
            Class::CancelIncoming,
            Class::CancelOutgoing,
            Class::Bell,
        ];
        let class = *CLASSES.get((self.0 & 0xff) as usize)?;
        Some((class, Id { index: self.0 as u32 >> 8, generation: (self.0 >> 32) as u32 }))
    }

    /// The word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// The tag of a word that was made by [`to_word`](Self::to_word).
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_as_it_went() {
        for class in [Class::Incoming, Class::Outgoing, Class::Loan, Class::CancelIncoming, Class::Bell] {
            for index in [0, 1, Tag::MOST_PLACES - 1] {
                for generation in [0, 1, u32::MAX] {
                    let id = Id { index, generation };
                    assert_eq!(Tag::from_word(Tag::new(class, id).to_word()).parts(), Some((class, id)));
                }
            }
        }
        assert_eq!(Tag::from_word(u64::MAX).parts(), None);
    }
}
