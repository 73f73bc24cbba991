//! What a program does, in terms of plain vectors of bytes.

use std::collections::VecDeque;

use super::{Pattern, Stream};

/// A hole that somebody still has in hand.
#[derive(Clone, Copy, Debug)]
struct Hole {
    at: usize,
    len: usize,
    /// Whether its bytes were thrown away.
    gone: bool,
}

impl Hole {
    /// Whether it holds back what was written. A hole of no bytes never does, and is never gone.
    fn is_open(&self) -> bool {
        self.len > 0 && !self.gone
    }
}

/// What filling a hole must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// The bytes are there now.
    Filled,
    /// The hole was thrown away before.
    Gone,
}

/// The state that the buffers must agree with.
#[derive(Debug, Default)]
pub struct Reference {
    /// Where new bytes come from.
    pub pattern: Pattern,
    /// Bytes written and not yet taken.
    pub written: Vec<u8>,
    /// Bytes of the chain.
    pub unread: VecDeque<u8>,
    /// Bytes that were kept, oldest first; they never change but by the holder's own hand.
    pub leases: VecDeque<Vec<u8>>,
    /// The stream between two ends.
    pub stream: Stream,
    holes: Vec<Hole>,
    /// Holes that nobody can fill any more, though they are open.
    stuck: usize,
}

impl Reference {
    /// Leaves out `len` bytes.
    pub fn hole(&mut self, len: usize) {
        self.holes.push(Hole { at: self.written.len(), len, gone: false });
        self.written.resize(self.written.len() + len, 0);
    }

    /// The number of holes in hand, those included that were thrown away.
    #[must_use]
    pub fn holes(&self) -> usize {
        self.holes.len()
    }

    /// The length of a hole.
    #[must_use]
    pub fn hole_len(&self, index: usize) -> usize {
        self.holes[index].len
    }

    /// Fills a hole, which is out of hand then.
    pub fn fill(&mut self, index: usize, bytes: &[u8]) -> Fill {
        let hole = self.holes.remove(index);
        if hole.gone {
            return Fill::Gone;
        }
        if hole.len > 0 {
            self.written[hole.at..hole.at + hole.len].copy_from_slice(bytes);
        }
        Fill::Filled
    }

    /// Uses a hole up without filling it.
    pub fn fill_wrongly(&mut self, index: usize) {
        let hole = self.holes.remove(index);
        self.stuck += usize::from(hole.is_open());
    }

    /// Moves what was written to the chain, and answers how much that is; none while a hole is open.
    pub fn take(&mut self) -> Option<usize> {
        if self.stuck > 0 || self.holes.iter().any(Hole::is_open) {
            return None;
        }
        self.unread.extend(&self.written);
        Some(std::mem::take(&mut self.written).len())
    }

    /// Throws away what was written.
    pub fn discard(&mut self) {
        self.written.clear();
        self.stuck = 0;
        self.holes.iter_mut().for_each(|hole| hole.gone = hole.len > 0);
    }

    /// The first `n` bytes of the chain, if it has so many.
    #[must_use]
    pub fn front(&self, n: usize) -> Option<Vec<u8>> {
        front(&self.unread, n)
    }

    /// Drops the first `n` bytes of the chain.
    pub fn consume(&mut self, n: usize) {
        self.unread.drain(..n);
    }

    /// The length up to and with the first `delimiter`.
    #[must_use]
    pub fn find(&self, delimiter: u8) -> Option<usize> {
        self.unread.iter().position(|byte| *byte == delimiter).map(|at| at + 1)
    }
}

/// A copy of the first `n` bytes of a queue, if it has so many.
pub(super) fn front(queue: &VecDeque<u8>, n: usize) -> Option<Vec<u8>> {
    if n > queue.len() {
        return None;
    }
    let (first, second) = queue.as_slices();
    let part = n.min(first.len());
    Some([&first[..part], &second[..n - part]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_hole_holds_everything_back() {
        let mut reference = Reference::default();
        reference.written.extend(b"ab");
        reference.hole(2);
        assert_eq!(reference.take(), None);
        assert_eq!(reference.fill(0, b"cd"), Fill::Filled);
        assert_eq!(reference.take(), Some(4));
        assert_eq!(reference.front(3).as_deref(), Some(b"abc".as_slice()));
        assert_eq!(reference.find(b'd'), Some(4));
        assert_eq!(reference.front(5), None);
    }

    #[test]
    fn a_hole_that_was_thrown_away_holds_nothing_back() {
        let mut reference = Reference::default();
        reference.hole(1);
        reference.hole(1);
        reference.fill_wrongly(0);
        reference.discard();
        assert_eq!(reference.take(), Some(0));
        assert_eq!(reference.fill(0, b"x"), Fill::Gone);
    }
}
