//! The table of what the peer has on loan.

use std::fmt;

use crate::violation::Violation;

/// What is lent, by ticket. Private to the lender: a ticket that comes back is believed only if it stands here.
///
/// A ticket is an index in the low bits and a generation in the others; each use of an index has another generation,
/// until they are used up and begin anew.
pub struct InFlight<T> {
    entries: Vec<Entry<T>>,
    /// The most entries: a power of two.
    most: usize,
    /// The first free entry; `most` when there is none.
    free: usize,
    lent: usize,
}

struct Entry<T> {
    /// The ticket under which the entry is lent, or was last.
    ticket: u32,
    state: State<T>,
}

enum State<T> {
    Lent(T),
    /// Free, and the next free entry.
    Free(usize),
}

impl<T> InFlight<T> {
    /// A table for at most `most` loans at a time, a power of two. It takes memory as it fills.
    ///
    /// # Panics
    /// When `most` is not a power of two, or leaves no bits for a generation.
    #[must_use]
    pub fn new(most: usize) -> Self {
        assert!(most.is_power_of_two() && most < 1 << 31, "a power of two, smaller than tickets are");
        Self { entries: Vec::new(), most, free: most, lent: 0 }
    }

    /// How many loans are out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lent
    }

    /// Whether none is out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lent == 0
    }

    /// Whether no more can be lent at present.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lent == self.most
    }

    /// All that is lent.
    #[cfg(test)]
    pub(crate) fn things(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| match &entry.state {
            State::Lent(thing) => Some(thing),
            State::Free(_) => None,
        })
    }

    /// Keeps `thing` while the peer has it, and answers the ticket under which it comes back.
    ///
    /// # Errors
    /// Gives the thing back when the table is full.
    pub fn lend(&mut self, thing: T) -> Result<u32, T> {
        if self.is_full() {
            return Err(thing);
        }
        self.lent += 1;
        let Some(entry) = self.entries.get_mut(self.free) else {
            // All that there are are lent, and there may be more.
            let ticket = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            self.entries.push(Entry { ticket, state: State::Lent(thing) });
            return Ok(ticket);
        };
        if let State::Free(next) = entry.state {
            self.free = next;
        }
        // The next generation. It wraps, and leaves the index alone: there are as many indices as it counts over.
        entry.ticket = entry.ticket.wrapping_add(u32::try_from(self.most).unwrap_or(0));
        entry.state = State::Lent(thing);
        Ok(entry.ticket)
    }

    /// What was lent under this ticket, which is any number.
    ///
    /// # Errors
    /// When nothing is.
    pub fn give_back(&mut self, ticket: u32) -> Result<T, Violation> {
        let index = ticket as usize & (self.most - 1);
        let unknown = Violation::Ticket { found: ticket };
        let entry = self.entries.get_mut(index).filter(|entry| entry.ticket == ticket).ok_or(unknown)?;
        if matches!(entry.state, State::Free(_)) {
            return Err(unknown);
        }
        let State::Lent(thing) = std::mem::replace(&mut entry.state, State::Free(self.free)) else {
            return Err(unknown);
        };
        self.free = index;
        self.lent -= 1;
        Ok(thing)
    }
}

impl<T> fmt::Debug for InFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("lent", &self.lent).field("most", &self.most).finish_non_exhaustive()
    }
}
