//! Chains of one piece, as most are: it goes from owner to owner whole.

use super::Chain;
use crate::buffer::{Segment, Short};

impl Chain {
    /// The only piece, when there is just one.
    #[inline]
    pub(crate) fn single(&self) -> Option<&Segment> {
        self.first.as_ref().filter(|first| first.len() == self.len)
    }

    /// The only piece of a chain that has never had another.
    #[inline(always)] // as `push`
    pub(crate) fn into_single(mut self) -> Result<Segment, Self> {
        match (self.first.take(), &self.more) {
            (Some(first), None) => Ok(first),
            (first, _) => {
                self.first = first;
                Err(self)
            }
        }
    }

    /// Takes the only piece of a chain whose bytes were all consumed; the chain is as new then.
    #[inline(always)] // as `push`
    pub(crate) fn take_consumed(&mut self) -> Option<Segment> {
        if self.len == 0 && self.more.is_none() { self.first.take() } else { None }
    }

    /// As [`skip`](Self::skip), but a piece that is consumed whole stays if it is the last, so that whoever
    /// [takes](Self::take_consumed) it decides where its reference goes.
    #[inline]
    pub(crate) fn skip_over(&mut self, n: usize) -> Result<(), Short> {
        match &mut self.first {
            Some(first) if n < first.len() || (n == first.len() && n == self.len) => {
                first.advance(n);
                self.consumed(n);
                Ok(())
            }
            _ => self.skip(n),
        }
    }

    /// Whether there is one piece and nothing is remembered, so that [`take_behind`](Self::take_behind) takes it.
    #[inline(always)] // as `push`
    pub(crate) fn has_one_piece(&self) -> bool {
        self.more.is_none() & self.first.is_some()
    }

    /// Takes the only piece without its first `n` bytes, which are dropped; nothing if there are several pieces.
    ///
    /// # Panics
    /// When the piece has fewer bytes.
    #[inline(always)] // as `push`
    pub(crate) fn take_behind(&mut self, n: usize) -> Option<Segment> {
        if !self.has_one_piece() {
            return None;
        }
        let mut only = self.first.take()?;
        self.len = 0;
        only.advance(n);
        Some(only)
    }
}
