//! Messages with their length in front: a `u32`, big-endian, then as many bytes.
//!
//! ```text
//!   +----+----+----+----+----------------- ... ---+
//!   | length, big-endian |  payload                |
//!   +----+----+----+----+----------------- ... ---+
//! ```

use std::fmt;
use std::ops::ControlFlow;

use super::{Codec, Cut, HandlerError, Payload, prefix};
use crate::buffer::{Chain, Hole, ReadError, Segment, SegmentWriter, WriteError};

/// The length in front of each payload, in bytes.
const HEADER: usize = 4;

/// How frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameOptions {
    /// The longest payload that is accepted, in bytes. Default: 16 MiB.
    pub max_payload: u32,
}

impl Default for FrameOptions {
    fn default() -> Self {
        Self { max_payload: 16 << 20 }
    }
}

impl FrameOptions {
    /// The length that a message has in front.
    #[inline]
    pub(super) fn length(self, field: [u8; 4]) -> Result<usize, FrameError> {
        let length = u32::from_be_bytes(field);
        if length > self.max_payload {
            return Err(FrameError::TooLong { length, limit: self.max_payload });
        }
        Ok(length as usize)
    }
}

/// A codec of length-prefixed messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    options: FrameOptions,
}

impl Frame {
    /// A codec with these options.
    #[must_use]
    pub fn new(options: FrameOptions) -> Self {
        Self { options }
    }

    /// The next message, if all of it has arrived. Bytes of an incomplete message stay in the input.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] as soon as a length over the limit is seen; the input cannot be read on then.
    #[inline]
    pub fn cut<'a>(&self, input: &'a mut Chain) -> Result<Cut<Payload<'a>>, FrameError> {
        match input.front().first_chunk() {
            Some(header) => self.cut_behind(*header, input),
            None => self.cut_across(input),
        }
    }

    /// The header lies in several pieces, or is not there yet.
    fn cut_across<'a>(&self, input: &'a mut Chain) -> Result<Cut<Payload<'a>>, FrameError> {
        if input.len() < HEADER {
            return Ok(Cut::Missing(HEADER - input.len()));
        }
        let mut header = [0; HEADER];
        header.copy_from_slice(input.peek(HEADER)?);
        self.cut_behind(header, input)
    }

    #[inline]
    fn cut_behind<'a>(
        &self,
        header: [u8; HEADER],
        input: &'a mut Chain,
    ) -> Result<Cut<Payload<'a>>, FrameError> {
        let length = self.options.length(header)?;
        let whole = HEADER + length;
        if input.len() < whole {
            return Ok(Cut::Missing(whole - input.len()));
        }
        input.skip(HEADER).map_err(ReadError::from)?;
        Ok(Cut::Message(Payload::front(input, length)))
    }

    /// Calls `each` for one message after another, as long as whole messages are there and it wants to continue.
    /// Answers how many bytes of the next message are missing, as far as can be told; none when none has begun.
    ///
    /// Messages that lie in the first piece, as most do, are found by walking over it once.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    #[inline]
    pub fn for_each(
        &self,
        input: &mut Chain,
        each: impl FnMut(Payload<'_>) -> ControlFlow<()>,
    ) -> Result<usize, FrameError> {
        let missing = self.walk(input, each)?;
        // Lets go of a piece that was consumed whole.
        input.skip(0).map_err(ReadError::from)?;
        Ok(missing)
    }

    /// As [`for_each`](Self::for_each), for input that its loop [looks through](Chain::take_consumed) afterwards.
    #[inline]
    pub(super) fn walk(
        &self,
        input: &mut Chain,
        mut each: impl FnMut(Payload<'_>) -> ControlFlow<()>,
    ) -> Result<usize, FrameError> {
        let mut walked = 0;
        loop {
            // One place where `each` is called, so that it is inlined, and the payload stays in registers.
            let payload = match self.whole_in_first(input, walked) {
                Some((first, payload, end)) => {
                    walked = end;
                    Payload::piece(first, payload)
                }
                None => {
                    input.skip_over(walked).map_err(ReadError::from)?;
                    if input.is_empty() {
                        return Ok(0);
                    }
                    if std::mem::take(&mut walked) > 0 {
                        // The next piece is the first one now.
                        continue;
                    }
                    // A message over several pieces, one that has not arrived whole, or one that is too long.
                    match self.cut(input)? {
                        Cut::Missing(bytes) => return Ok(bytes),
                        Cut::Message(payload) => payload,
                    }
                }
            };
            if each(payload).is_break() {
                input.skip_over(walked).map_err(ReadError::from)?;
                return Ok(0);
            }
        }
    }

    /// The payload of the message that begins after `walked` bytes of the first piece, if it lies in that piece whole,
    /// and where it ends there.
    #[inline]
    fn whole_in_first<'a>(&self, input: &'a Chain, walked: usize) -> Option<(&'a Segment, &'a [u8], usize)> {
        let first = input.first()?;
        let (header, rest) = first.get(walked..)?.split_first_chunk()?;
        let length = self.options.length(*header).ok()?;
        let payload = rest.get(..length)?;
        Some((first, payload, walked + HEADER + length))
    }

    /// Writes a message whose payload is in memory.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the length does not fit its field, or when no block can be had.
    #[inline]
    pub fn put(payload: &[u8], to: &mut SegmentWriter) -> Result<(), FrameError> {
        to.write(&length_of(payload.len())?.to_be_bytes())?;
        Ok(to.write(payload)?)
    }

    /// Writes a message that `body` writes; its length is filled in afterwards.
    ///
    /// # Errors
    /// As [`put`](Self::put), and those of `body`. The writer is to be [discarded](SegmentWriter::discard) then.
    #[inline]
    pub fn put_with(
        to: &mut SegmentWriter,
        body: impl FnOnce(&mut SegmentWriter) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        let message = OpenMessage::begin(to)?;
        body(to)?;
        Ok(message.end(to)?)
    }
}

/// Messages as chains, without a copy: a request is counted pieces of what was received, a reply is linked into what is
/// sent (small pieces are copied there). Replies leave in the order of the requests: there is nothing in a frame that
/// says which request it answers.
impl Codec for Frame {
    type In = Chain;
    type Out = Chain;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<((), Chain)>, HandlerError> {
        Ok(match Self::cut(self, input)? {
            Cut::Message(payload) => Cut::Message(((), payload.into_chain())),
            Cut::Missing(bytes) => Cut::Missing(bytes),
        })
    }

    #[inline]
    fn cut_run(
        &mut self,
        input: &mut Chain,
        each: impl FnMut((), Chain, usize) -> ControlFlow<()>,
    ) -> Result<usize, HandlerError> {
        let parse = |header: &[u8; HEADER]| Ok(((), self.options.length(*header)?));
        Ok(prefix::cut_run(input, parse, each)?)
    }

    #[inline(always)] // where it is called the answer is in place, and it is read from there
    fn put((): (), out: Chain, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        to.write(&length_of(out.len())?.to_be_bytes())?;
        Ok(to.append_chain(out)?)
    }
}

/// A message that is being written; its length is filled in at the end.
pub(super) struct OpenMessage {
    length: Hole,
    before: usize,
}

impl OpenMessage {
    #[inline]
    pub(super) fn begin(to: &mut SegmentWriter) -> Result<Self, FrameError> {
        let length = to.hole(HEADER)?;
        Ok(Self { length, before: to.len() })
    }

    #[inline]
    pub(super) fn end(self, to: &mut SegmentWriter) -> Result<(), FrameError> {
        let length = length_of(to.len() - self.before)?;
        Ok(to.fill(self.length, &length.to_be_bytes())?)
    }
}

#[inline]
pub(super) fn length_of(payload: usize) -> Result<u32, FrameError> {
    u32::try_from(payload).map_err(|_| FrameError::TooLong { length: u32::MAX, limit: u32::MAX })
}

/// A message cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The payload is longer than allowed.
    TooLong {
        /// The length in front of the message.
        length: u32,
        /// The limit.
        limit: u32,
    },
    /// Bytes could not be read.
    Read(ReadError),
    /// Bytes could not be written.
    Write(WriteError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(f, "a message of {length} bytes is over the limit of {limit}")
            }
            Self::Read(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<WriteError> for FrameError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}
