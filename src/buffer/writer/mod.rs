//! Writing bytes into pooled blocks, to be sent without another copy.
//!
//! Bytes are written into the tail of a block, in one *run*; [`take`](SegmentWriter::take) cuts the run off as one
//! segment, so many messages written one after another share one reference count. Once everything cut from a block
//! has been sent and dropped, the writer starts over at its beginning, which is still in the processor's cache.
//!
//! On a loop whose transport has a preference, many bytes go into memory of the transport's instead (`port.rs`);
//! the pool's block is kept meanwhile, and is the current one again when the call is over.

mod buf_mut;
mod hole;
mod port;
mod reserved;

use std::fmt;
use std::rc::Rc;

use super::{AllocError, BlockPool, Chain, Segment, Spent, Tail};
pub use hole::Hole;
use hole::OpenHoles;
pub(crate) use port::{Port, Source};
pub use reserved::Reserved;

/// The size of block a writer asks for when less would do.
const BLOCK: usize = crate::sync::shrink(64 << 10, 6);

/// The size of block beyond which bytes that need not be contiguous are spread over several.
const LARGEST_BLOCK: usize = 1 << 20;

/// Pieces shorter than this are copied when they are appended: a gathering send pays more for one piece more than
/// for copying so few bytes.
const COPIED_BELOW: usize = crate::sync::shrink(2 << 10, 2);

/// Fills blocks of a pool and yields them as chains; see the module's documentation.
///
/// INVARIANT: `filled` bytes of `tail.spare()` are written and not yet in `ready`; they come behind it. While `is_away`,
/// `tail` is of the transport's memory, and `home` is the pool's block, of which nothing is written that is not in `ready`.
pub struct SegmentWriter {
    pool: BlockPool,
    tail: Option<Tail>,
    filled: usize,
    /// So many bytes are many: they belong into memory of the transport's, if there is any.
    many: usize,
    ready: Chain,
    /// The position, in all bytes ever written, of the first byte not yet taken.
    base: u64,
    holes: OpenHoles,
    /// What was appended by copying, to be dropped with the next `take`: many at a time cost as little as one.
    spent: Option<Spent>,
    port: Option<Rc<Port>>,
    home: Option<Tail>,
    is_away: bool,
}

impl SegmentWriter {
    /// A writer that takes its blocks from `pool`. Allocates nothing yet.
    #[must_use]
    pub fn new(pool: BlockPool) -> Self {
        Self {
            pool,
            tail: None,
            filled: 0,
            many: usize::MAX,
            ready: Chain::new(),
            base: 0,
            holes: OpenHoles::default(),
            spent: None,
            port: None,
            home: None,
            is_away: false,
        }
    }

    /// As [`new`](Self::new); but `many` bytes or more that are reserved at once, or written where the present block has no
    /// room for them, go into memory that is lent through the [`port`](Self::port), while any is.
    #[must_use]
    pub(crate) fn with_port(pool: BlockPool, many: usize) -> Self {
        Self { many, port: Some(Rc::default()), ..Self::new(pool) }
    }

    /// The port of a writer that has one.
    #[must_use]
    pub(crate) fn port(&self) -> Option<Rc<Port>> {
        self.port.clone()
    }

    /// The bytes written and not yet taken.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len() + self.filled
    }

    /// Whether nothing is to be taken.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes in, over as many blocks as it takes.
    ///
    /// # Errors
    /// When a block cannot be had; the bytes before it are written then.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.start_over();
        let spare = self.spare();
        if bytes.len() > spare.len() {
            return self.write_over(bytes);
        }
        spare[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        Ok(())
    }

    /// Copies bytes in that need another block.
    #[cold]
    fn write_over(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let mut away =
            bytes.len() >= self.many && (self.is_away || self.go_away(bytes.len().min(LARGEST_BLOCK)));
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = self.spare();
            let (now, later) = rest.split_at(spare.len().min(rest.len()));
            spare[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            rest = later;
            if !rest.is_empty() {
                let n = rest.len().min(LARGEST_BLOCK);
                away = away && n >= self.many && self.go_away(n);
                if !away {
                    self.next_block(n)?;
                }
            }
        }
        Ok(())
    }

    /// Room for at least `n` contiguous bytes, to be written through the guard.
    ///
    /// # Errors
    /// When such a block cannot be had.
    pub fn reserve(&mut self, n: usize) -> Result<Reserved<'_>, WriteError> {
        if n >= self.many {
            self.room_for_many(n)?;
        } else {
            self.room(n)?;
        }
        Ok(Reserved::new(self, n))
    }

    /// Adds a segment. A short one is copied, a longer one is linked.
    ///
    /// # Errors
    /// When a block for the copy cannot be had.
    #[inline(always)] // a segment that goes through memory stalls, see `Chain::push`
    pub fn append(&mut self, segment: Segment) -> Result<(), WriteError> {
        if segment.len() < COPIED_BELOW {
            let written = self.write(&segment);
            self.spend(segment);
            written
        } else {
            self.link(segment);
            Ok(())
        }
    }

    /// Takes a segment that nobody needs any more, to let go of it together with others.
    #[inline(always)] // as `append`
    pub(crate) fn spend(&mut self, segment: Segment) {
        let other = match &mut self.spent {
            Some(spent) => match spent.add(segment) {
                Ok(()) => return,
                Err(segment) => segment,
            },
            None => segment,
        };
        self.spent = Some(Spent::new(other));
    }

    /// What was [spent](Self::spend), to be let go of where it came from.
    #[inline]
    pub(crate) fn take_spent(&mut self) -> Option<Spent> {
        self.spent.take()
    }

    /// The bytes that [`take`](Self::take) would take, if it is nothing but what was written into the present block.
    #[inline]
    pub(crate) fn run(&mut self) -> Option<&[u8]> {
        if !(self.ready.is_empty() & self.holes.is_empty()) {
            return None;
        }
        let filled = self.filled;
        self.tail.as_mut().map(|tail| &tail.spare()[..filled])
    }

    /// Forgets the first `n` bytes of the [`run`](Self::run): they are sent. The place of a run that is sent whole is
    /// written again.
    #[inline]
    pub(crate) fn sent(&mut self, n: usize) {
        self.base += n as u64;
        if n == self.filled {
            self.filled = 0;
        } else if let Some(tail) = &mut self.tail {
            tail.skip(n);
            self.filled -= n;
        }
    }

    fn link(&mut self, segment: Segment) {
        self.cut();
        self.ready.push(segment);
    }

    /// Adds all pieces of a chain, each as by [`append`](Self::append).
    ///
    /// # Errors
    /// When a block for a copy cannot be had; the pieces before it are added then.
    #[inline(always)] // as `append`
    pub fn append_chain(&mut self, chain: Chain) -> Result<(), WriteError> {
        match chain.into_single() {
            Ok(only) => self.append(only),
            Err(chain) => self.append_pieces(chain),
        }
    }

    fn append_pieces(&mut self, mut chain: Chain) -> Result<(), WriteError> {
        while let Some(segment) = chain.pop() {
            self.append(segment)?;
        }
        Ok(())
    }

    /// Adds all pieces of a chain as they are: nothing is copied, however short a piece is.
    pub fn link_chain(&mut self, chain: Chain) {
        self.cut();
        if self.ready.is_empty() {
            self.ready = chain;
        } else {
            self.ready.append(chain);
        }
    }

    /// Takes everything written so far.
    ///
    /// # Errors
    /// [`WriteError::OpenHole`] while a hole is not filled; then nothing is taken.
    #[inline(always)]
    pub fn take(&mut self) -> Result<Chain, WriteError> {
        if !self.holes.is_empty() {
            return Err(WriteError::OpenHole);
        }
        self.base += self.len() as u64;
        self.spent = None;
        if !self.ready.is_empty() {
            return Ok(self.take_all());
        }
        // Nothing but the run: it goes straight to the caller, not by way of `ready`.
        let n = std::mem::take(&mut self.filled);
        match &mut self.tail {
            Some(tail) if n > 0 => Ok(Chain::from(tail.commit(n))),
            _ => Ok(Chain::new()),
        }
    }

    #[cold]
    fn take_all(&mut self) -> Chain {
        self.cut();
        std::mem::take(&mut self.ready)
    }

    /// Throws away everything written since the last [`take`](Self::take), holes included.
    pub fn discard(&mut self) {
        self.cut();
        self.base += self.ready.len() as u64;
        self.ready = Chain::new();
        self.holes = OpenHoles::default();
        self.spent = None;
    }

    /// A run that has not begun begins at the start of the block when nobody holds a part of it any more. Only to be
    /// called before bytes are written: it moves [`spare`](Self::spare).
    #[inline]
    fn start_over(&mut self) {
        if self.filled == 0
            && let Some(tail) = &mut self.tail
            && tail.written() > 0
        {
            tail.reset();
        }
    }

    /// The unwritten bytes of the current block behind the run.
    #[inline]
    fn spare(&mut self) -> &mut [u8] {
        match &mut self.tail {
            Some(tail) => &mut tail.spare()[self.filled..],
            None => &mut [],
        }
    }

    /// The unwritten bytes behind the run, at least `n` of them.
    #[inline]
    fn room(&mut self, n: usize) -> Result<&mut [u8], WriteError> {
        self.start_over();
        if self.spare().len() < n {
            self.next_block(n)?;
        }
        Ok(self.spare())
    }

    /// As [`room`](Self::room), in memory of the transport's if that can be had.
    #[cold]
    fn room_for_many(&mut self, n: usize) -> Result<(), WriteError> {
        self.start_over();
        if (self.is_away && self.spare().len() >= n) || self.go_away(n) {
            return Ok(());
        }
        self.room(n).map(|_| ())
    }

    /// Ends the run and starts a block of the pool with room for `n` bytes.
    #[cold]
    fn next_block(&mut self, n: usize) -> Result<(), WriteError> {
        if self.is_away {
            self.come_home();
            self.start_over();
            if self.spare().len() >= n {
                return Ok(());
            }
        }
        let tail = self.pool.allocate(n.max(BLOCK))?;
        self.cut();
        self.tail = Some(tail);
        Ok(())
    }

    /// Ends the run and starts a block of the transport's memory with room for `n` bytes, if there is one. Answers whether
    /// there was.
    #[cold]
    fn go_away(&mut self, n: usize) -> bool {
        let Some(tail) = self.port.as_ref().and_then(|port| port.allocate(n)) else { return false };
        self.cut();
        let former = self.tail.replace(tail);
        if !std::mem::replace(&mut self.is_away, true) {
            self.home = former;
        }
        true
    }

    /// Ends a run in memory of the transport's, and gives up what is left of it: it belongs to one connection. To be
    /// called when nothing is lent any more.
    pub(crate) fn come_home(&mut self) {
        if std::mem::take(&mut self.is_away) {
            self.cut();
            self.tail = self.home.take();
        }
    }

    /// Cuts the run off into `ready`.
    #[inline]
    fn cut(&mut self) {
        if let Some(tail) = &mut self.tail {
            self.ready.push_written(tail, self.filled);
            self.filled = 0;
        }
    }
}

impl std::io::Write for SegmentWriter {
    /// Writes all bytes, or as many as there are blocks for; an error means that none were written.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let before = self.len();
        match (Self::write(self, bytes), self.len() - before) {
            (Err(error), 0) => Err(std::io::Error::other(error)),
            (_, written) => Ok(written),
        }
    }

    /// Does nothing: bytes leave by [`take`](SegmentWriter::take).
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentWriter").field("len", &self.len()).field("holes", &self.holes).finish()
    }
}

/// Bytes could not be written or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// No block could be had.
    Alloc(AllocError),
    /// A hole is not filled yet.
    OpenHole,
    /// The hole was taken or discarded before it was filled, or it belongs to another writer.
    HoleGone,
    /// A hole is filled with exactly as many bytes as it has.
    HoleSize {
        /// The bytes of the hole.
        hole: usize,
        /// The bytes given.
        given: usize,
    },
    /// More bytes were to be committed than were written through the reservation.
    NotWritten {
        /// The bytes to be committed.
        asked: usize,
        /// The bytes written.
        written: usize,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alloc(error) => error.fmt(f),
            Self::OpenHole => f.write_str("a hole is not filled"),
            Self::HoleGone => f.write_str("the hole is gone"),
            Self::HoleSize { hole, given } => {
                write!(f, "a hole of {hole} bytes cannot be filled with {given}")
            }
            Self::NotWritten { asked, written } => {
                write!(f, "{asked} bytes to commit, but only {written} written")
            }
        }
    }
}

impl std::error::Error for WriteError {}

impl From<AllocError> for WriteError {
    fn from(error: AllocError) -> Self {
        Self::Alloc(error)
    }
}
