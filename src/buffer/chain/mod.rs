//! A queue of segments on one thread, and everything one does when reading it.
//!
//! Bytes enter at the back ([`push`](Chain::push)) and leave at the front. Nothing is copied, except when contiguous
//! bytes are asked for that lie in several pieces: then they are joined once, into a block with room to grow, so
//! asking again for a little more copies only the little more.

mod compact;
mod io;
mod join;
mod only;

use std::collections::{VecDeque, vec_deque};
use std::fmt;
use std::io::IoSlice;

use super::{AllocError, Segment, Tail};

/// A queue of segments; see the module's documentation.
///
/// INVARIANT: `len` is the sum of all pieces' lengths. Only `first` may be empty: a piece that was consumed, and
/// stays until the next operation because its bytes may still be borrowed. When `first` is `None`, there are no
/// other pieces.
#[derive(Default)]
pub struct Chain {
    first: Option<Segment>,
    len: usize,
    /// What most chains never need: they have one piece, and nothing to remember.
    more: Option<Box<More>>,
}

/// The pieces behind the first, and what is remembered between operations.
#[derive(Default)]
struct More {
    rest: VecDeque<Segment>,
    /// Pieces at the front of `rest` that were compacted already. They do not shrink before they are the first.
    compacted: usize,
    /// The last byte searched for, and how many bytes from the front are known not to contain it.
    searched: (u8, usize),
    /// The tail of the block that `first` was joined into; bytes joined later are written there.
    joined: Option<Tail>,
}

impl More {
    fn pop_front(&mut self) -> Option<Segment> {
        self.compacted = self.compacted.saturating_sub(1);
        self.rest.pop_front()
    }
}

impl Chain {
    /// An empty chain. Allocates nothing.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { first: None, len: 0, more: None }
    }

    /// The number of unread bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no unread byte is left.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of pieces.
    #[must_use]
    pub fn pieces(&self) -> usize {
        let first = self.first.as_ref().is_some_and(|first| !first.is_empty());
        usize::from(first) + self.rest().len()
    }

    /// The pieces, front first; none is empty.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        let (front, back) = self.more.as_ref().map_or((&[][..], &[][..]), |more| more.rest.as_slices());
        self.first.iter().filter(|first| !first.is_empty()).chain(front).chain(back)
    }

    /// The first piece; empty when it was consumed and another one follows.
    #[inline]
    pub(crate) fn first(&self) -> Option<&Segment> {
        self.first.as_ref()
    }

    /// The pieces behind the first.
    pub(crate) fn rest(&self) -> vec_deque::Iter<'_, Segment> {
        static NONE: VecDeque<Segment> = VecDeque::new();
        self.more.as_ref().map_or(&NONE, |more| &more.rest).iter()
    }

    /// The bytes of the first piece; none when the chain is empty.
    #[inline]
    #[must_use]
    pub fn front(&self) -> &[u8] {
        match &self.first {
            Some(first) if !first.is_empty() => first,
            _ => self.rest().next().map_or(&[], |segment| segment),
        }
    }

    /// Adds a segment at the back. Neighbours in one block become one piece.
    #[inline(always)]
    pub fn push(&mut self, segment: Segment) {
        // The usual case is inlined, so that the segment goes from registers to its place: passed on through
        // memory, it would be read again in wider words than it was just written in, which stalls processors.
        if self.len == 0 && self.first.is_none() && self.more.is_none() && !segment.is_empty() {
            self.len = segment.len();
            self.first = Some(segment);
        } else {
            self.push_behind(segment);
        }
    }

    fn push_behind(&mut self, segment: Segment) {
        if segment.is_empty() {
            return;
        }
        let added = segment.len();
        if self.len == 0 {
            // Also when `first` is a consumed piece: it is dropped here.
            self.first = Some(segment);
            self.unjoin();
        } else {
            let joined = match self.back_mut() {
                Some(back) => back.join(segment),
                None => Err(segment),
            };
            if let Err(segment) = joined {
                self.more_mut().rest.push_back(segment);
            }
        }
        self.len += added;
    }

    /// Adds the first `n` unwritten bytes of a tail, which were written just now. A run of such additions shares one
    /// reference to the block.
    ///
    /// # Panics
    /// When the tail has fewer bytes.
    #[inline]
    pub fn push_written(&mut self, tail: &mut Tail, n: usize) {
        if n == 0 {
            return;
        }
        if self.len > 0
            && let Some(back) = self.back_mut()
            && tail.continues(back)
        {
            tail.skip(n);
            back.extend(n);
            self.len += n;
        } else {
            self.push(tail.commit(n));
        }
    }

    /// Moves all pieces of `other` to the back.
    pub fn append(&mut self, mut other: Self) {
        while let Some(segment) = other.pop() {
            self.push(segment);
        }
    }

    /// Takes the first piece whole.
    pub fn pop(&mut self) -> Option<Segment> {
        self.settle();
        let first = self.first.take()?;
        self.consumed(first.len());
        self.pull_first();
        Some(first)
    }

    /// Drops the first `n` bytes.
    ///
    /// # Errors
    /// When there are fewer; then nothing is dropped.
    #[inline]
    pub fn skip(&mut self, n: usize) -> Result<(), Short> {
        match &mut self.first {
            Some(first) if n <= first.len() => {
                first.advance(n);
                self.consumed(n);
                self.settle();
                Ok(())
            }
            _ => self.skip_pieces(n),
        }
    }

    fn skip_pieces(&mut self, n: usize) -> Result<(), Short> {
        self.require(n)?;
        self.drop_front(n);
        Ok(())
    }

    /// Takes the first `n` bytes as a chain of their own, without joining or copying.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn split_to(&mut self, n: usize) -> Result<Self, Short> {
        self.require(n)?;
        let mut taken = Self::new();
        while taken.len < n {
            let first = self.front_mut();
            let part = first.len().min(n - taken.len);
            let piece = if part == first.len() {
                self.pop().unwrap_or_else(|| unreachable!("require(n) passed"))
            } else {
                let piece = first.split_to(part);
                self.consumed(part);
                piece
            };
            taken.push(piece);
        }
        Ok(taken)
    }

    /// Offers the pieces, front first, for a gathering write. Answers how many entries of `into` are filled.
    pub fn io_slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (entry, segment) in into.iter_mut().zip(self.segments()) {
            *entry = IoSlice::new(segment);
            filled += 1;
        }
        filled
    }

    /// The length up to and with the first `delimiter`, if there is one. Searching again after more bytes came
    /// resumes where the last search stopped.
    pub fn find(&mut self, delimiter: u8) -> Option<usize> {
        let known = match &self.more {
            Some(more) if more.searched.0 == delimiter => more.searched.1,
            _ => 0,
        };
        let mut before = 0;
        let mut found = None;
        for segment in self.segments() {
            let from = known.saturating_sub(before).min(segment.len());
            if let Some(at) = segment[from..].iter().position(|byte| *byte == delimiter) {
                found = Some(before + from + at);
                break;
            }
            before += segment.len();
        }
        self.more_mut().searched = (delimiter, found.unwrap_or(self.len));
        found.map(|at| at + 1)
    }

    fn require(&self, n: usize) -> Result<(), Short> {
        if n <= self.len { Ok(()) } else { Err(Short { asked: n, have: self.len }) }
    }

    fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    #[inline]
    fn back_mut(&mut self) -> Option<&mut Segment> {
        match &mut self.more {
            Some(more) if !more.rest.is_empty() => more.rest.back_mut(),
            _ => self.first.as_mut(),
        }
    }

    /// Forgets that `first` was joined: it is another piece now.
    #[inline]
    fn unjoin(&mut self) {
        if let Some(more) = &mut self.more {
            more.joined = None;
        }
    }

    /// Makes the second piece the first.
    #[inline]
    fn pull_first(&mut self) {
        self.first = match &mut self.more {
            Some(more) => {
                more.joined = None;
                more.pop_front()
            }
            None => None,
        };
    }

    /// Drops a first piece that was consumed whole.
    #[inline]
    fn settle(&mut self) {
        if let Some(first) = &self.first
            && first.is_empty()
        {
            self.pull_first();
        }
    }

    fn front_mut(&mut self) -> &mut Segment {
        self.settle();
        self.first.as_mut().unwrap_or_else(|| unreachable!("the caller knows that bytes are left"))
    }

    #[inline]
    fn consumed(&mut self, n: usize) {
        self.len -= n;
        if let Some(more) = &mut self.more {
            more.searched.1 = more.searched.1.saturating_sub(n);
        }
    }

    /// Drops `n` bytes, which are there, and each piece that ends with them.
    fn drop_front(&mut self, mut n: usize) {
        self.consumed(n);
        while n > 0 {
            let first = self.front_mut();
            let part = first.len().min(n);
            first.advance(part);
            n -= part;
        }
        self.settle();
    }

    /// Overwrites bytes of a chain that nobody else has seen.
    ///
    /// # Safety
    /// The bytes from `at` on, `bytes.len()` of them, lie in one piece, were written by the caller, and no view of
    /// them exists but this chain's.
    #[expect(unsafe_code, reason = "passes the caller's promise on")]
    pub(super) unsafe fn patch(&mut self, mut at: usize, bytes: &[u8]) {
        let rest = self.more.iter_mut().flat_map(|more| &mut more.rest);
        for segment in self.first.iter_mut().chain(rest) {
            if at < segment.len() {
                // SAFETY: the caller's promise.
                return unsafe { segment.patch(at, bytes) };
            }
            at -= segment.len();
        }
    }
}

impl From<Segment> for Chain {
    #[inline(always)]
    fn from(segment: Segment) -> Self {
        if segment.is_empty() {
            return Self::new();
        }
        let len = segment.len();
        Self { first: Some(segment), len, more: None }
    }
}

impl Extend<Segment> for Chain {
    fn extend<T: IntoIterator<Item = Segment>>(&mut self, segments: T) {
        segments.into_iter().for_each(|segment| self.push(segment));
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("len", &self.len).field("pieces", &self.pieces()).finish()
    }
}

/// Fewer bytes are there than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The bytes asked for.
    pub asked: usize,
    /// The bytes there are.
    pub have: usize,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes asked for, {} there", self.asked, self.have)
    }
}

impl std::error::Error for Short {}

/// Contiguous bytes could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// Fewer bytes are there.
    Short(Short),
    /// They lie in several pieces, and there is no block to join them in.
    Alloc(AllocError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(short) => short.fmt(f),
            Self::Alloc(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<Short> for ReadError {
    fn from(short: Short) -> Self {
        Self::Short(short)
    }
}

impl From<AllocError> for ReadError {
    fn from(error: AllocError) -> Self {
        Self::Alloc(error)
    }
}
