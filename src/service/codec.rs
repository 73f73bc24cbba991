//! What turns bytes into messages, and messages into bytes.

use super::HandlerError;
use crate::buffer::{Chain, SegmentWriter};

/// What is to be had from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<M> {
    /// The next message.
    Message(M),
    /// The next message is not there yet. So many bytes of it are missing, as far as can be told; at least one.
    Missing(usize),
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unanswered {
    /// The service let go of it without an answer.
    Dropped,
    /// The service panicked.
    Panicked,
}

/// A protocol of messages, as one side of a connection speaks it: a server reads requests and writes replies, a client
/// reads replies and writes requests.
///
/// There is one value for each connection, on its loop, so that cutting may have state. Writing has none, because
/// messages are written on whatever thread has made them.
pub trait Codec: 'static {
    /// A message that is read.
    type In: Send + 'static;
    /// A message that is written.
    type Out: Send + 'static;
    /// What says which request a reply belongs to; `()` where the order says it.
    type Tag: Clone + Send + 'static;
    /// Whether replies must leave in the order of their requests.
    const ORDERED: bool;

    /// The next message, if all of it has arrived; nothing is consumed otherwise.
    ///
    /// # Errors
    /// When the bytes are no message. They cannot be read on then, and the connection ends.
    fn cut(&mut self, input: &mut Chain) -> Result<Cut<Self::In>, HandlerError>;

    /// Writes a message.
    ///
    /// # Errors
    /// When it cannot be written, or no block can be had. What is half written must be
    /// [discarded](SegmentWriter::discard).
    fn put(out: Self::Out, to: &mut SegmentWriter) -> Result<(), HandlerError>;

    /// What a reply to this message, or this reply itself, is told by.
    fn tag(message: &Self::In) -> Self::Tag;

    /// What a server answers for a request that got no reply. With `None`, the default, its connection ends.
    fn unanswered(tag: Self::Tag, why: Unanswered) -> Option<Self::Out> {
        let _ = (tag, why);
        None
    }
}
