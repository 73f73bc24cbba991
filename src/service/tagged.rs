//! Messages with their length and an identifier in front: replies leave in any order.
//!
//! ```text
//!   +----+----+----+----+----+----+----+----+----+----+----+----+------ ... ---+
//!   | length, big-endian | identifier, big-endian                | payload       |
//!   +----+----+----+----+----+----+----+----+----+----+----+----+------ ... ---+
//! ```
//!
//! The length is that of the payload alone. The identifier is the client's; a reply carries its request's.

use std::ops::ControlFlow;

use super::frame::length_of;
use super::{Codec, Cut, FrameError, FrameOptions, HandlerError, prefix};
use crate::buffer::{Chain, SegmentWriter};

/// The length and the identifier in front of each payload, in bytes.
const HEADER: usize = 12;

/// A codec of length-prefixed messages that are told apart by a `u64`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaggedFrame {
    options: FrameOptions,
}

impl TaggedFrame {
    /// A codec with these options.
    #[must_use]
    pub fn new(options: FrameOptions) -> Self {
        Self { options }
    }

    #[inline]
    fn parse(&self, header: &[u8; HEADER]) -> Result<(u64, usize), FrameError> {
        let [l0, l1, l2, l3, tag @ ..] = *header;
        Ok((u64::from_be_bytes(tag), self.options.length([l0, l1, l2, l3])?))
    }
}

/// As for [`Frame`](super::Frame), chains without a copy.
impl Codec for TaggedFrame {
    type In = Chain;
    type Out = Chain;
    type Tag = u64;
    const ORDERED: bool = false;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<(u64, Chain)>, HandlerError> {
        Ok(match prefix::cut(input, |header| self.parse(header))? {
            Ok(message) => Cut::Message(message),
            Err(missing) => Cut::Missing(missing),
        })
    }

    #[inline]
    fn cut_run(
        &mut self,
        input: &mut Chain,
        each: impl FnMut(u64, Chain, usize) -> ControlFlow<()>,
    ) -> Result<usize, HandlerError> {
        Ok(prefix::cut_run(input, |header| self.parse(header), each)?)
    }

    #[inline]
    fn put(tag: u64, out: Chain, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        let mut header = [0; HEADER];
        let (length, rest) = header.split_at_mut(4);
        length.copy_from_slice(&length_of(out.len())?.to_be_bytes());
        rest.copy_from_slice(&tag.to_be_bytes());
        to.write(&header)?;
        Ok(to.append_chain(out)?)
    }
}
