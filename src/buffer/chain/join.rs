//! Contiguous bytes from a chain: borrowed where they lie in one piece, joined once where they do not.

use super::{Chain, ReadError};
use crate::buffer::{AllocError, Segment, Tail};

impl Chain {
    /// The first `n` bytes, contiguous, without consuming them.
    ///
    /// # Errors
    /// When there are fewer, or when they must be joined and there is no memory.
    #[inline]
    pub fn peek(&mut self, n: usize) -> Result<&[u8], ReadError> {
        self.make_contiguous(n)?;
        Ok(self.first.as_ref().map_or(&[], |first| &first[..n]))
    }

    /// Consumes the first `n` bytes and lends them, contiguous, until the chain is used again.
    ///
    /// # Errors
    /// As [`peek`](Self::peek); then nothing is consumed.
    #[inline]
    pub fn next(&mut self, n: usize) -> Result<&[u8], ReadError> {
        self.make_contiguous(n)?;
        let Some(first) = self.first.as_mut().filter(|_| n > 0) else { return Ok(&[]) };
        first.advance(n);
        self.consumed(n);
        Ok(self.first.as_ref().map_or(&[], |first| first.before(n)))
    }

    /// Consumes the first `n` bytes as a segment that can be kept and sent anywhere.
    ///
    /// # Errors
    /// As [`peek`](Self::peek); then nothing is consumed.
    pub fn slice(&mut self, n: usize) -> Result<Segment, ReadError> {
        self.make_contiguous(n)?;
        match &mut self.first {
            Some(first) if first.len() > n => {
                let segment = first.split_to(n);
                self.consumed(n);
                Ok(segment)
            }
            Some(_) if n > 0 => Ok(self.pop().unwrap_or_else(|| unreachable!("`first` is there"))),
            _ => Ok(Segment::from(Vec::new())),
        }
    }

    /// Consumes everything up to and with the first `delimiter`, and lends it until the chain is used again. `None`
    /// when there is no delimiter yet: then nothing is consumed, and the next search resumes where this one ended.
    ///
    /// # Errors
    /// When the bytes must be joined and there is no memory.
    pub fn until(&mut self, delimiter: u8) -> Result<Option<&[u8]>, AllocError> {
        let Some(n) = self.find(delimiter) else { return Ok(None) };
        match self.next(n) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Alloc(error)) => Err(error),
            Err(ReadError::Short(_)) => unreachable!("`find` answers a length that is there"),
        }
    }

    /// Sees to it that the first piece has at least `n` bytes.
    #[inline]
    pub(super) fn make_contiguous(&mut self, n: usize) -> Result<(), ReadError> {
        self.settle();
        if self.first.as_ref().is_some_and(|first| first.len() >= n) || n == 0 {
            return Ok(());
        }
        self.require(n)?;
        Ok(self.join(n)?)
    }

    /// Joins the first `n` bytes, which are there and lie in several pieces.
    fn join(&mut self, n: usize) -> Result<(), AllocError> {
        let first = self.first.take().unwrap_or_else(|| unreachable!("require(n) passed"));
        let missing = n - first.len();
        let more = self.more_mut();
        let grows = more.joined.take().filter(|tail| tail.continues(&first) && tail.len() >= missing);
        let (mut tail, mut first) = match grows {
            Some(tail) => (tail, first),
            None => match copied(&first, n) {
                Ok(fresh) => fresh,
                Err(error) => {
                    self.first = Some(first);
                    return Err(error);
                }
            },
        };
        let more = self.more_mut();
        let mut missing = missing;
        while missing > 0 {
            let piece = more.rest.front_mut().unwrap_or_else(|| unreachable!("require(n) passed"));
            let part = piece.len().min(missing);
            tail.spare()[..part].copy_from_slice(&piece[..part]);
            tail.skip(part);
            first.extend(part);
            piece.advance(part);
            if piece.is_empty() {
                more.pop_front();
            } else {
                // It has shrunk, so it is to be looked at again.
                more.compacted = 0;
            }
            missing -= part;
        }
        more.joined = Some(tail);
        self.first = Some(first);
        Ok(())
    }
}

/// A copy of a piece, with room behind it to grow to twice `n` bytes.
fn copied(piece: &Segment, n: usize) -> Result<(Tail, Segment), AllocError> {
    let mut tail = Tail::heap(n.saturating_mul(2))?;
    tail.spare()[..piece.len()].copy_from_slice(piece);
    let copy = tail.commit(piece.len());
    Ok((tail, copy))
}
