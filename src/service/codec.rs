//! What turns bytes into messages, and messages into bytes.

use std::ops::ControlFlow;

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

/// A message that is read, behind its tag.
pub type Tagged<C> = (<C as Codec>::Tag, <C as Codec>::In);

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
/// There is one value for each connection, on its loop, so that cutting may have state. Writing has none: it must be
/// possible wherever there is a writer.
///
/// What says which request a reply belongs to, the *tag*, stands beside the messages and not in them: a server's
/// replies get their requests' tags, whoever makes them, and a client's requests get tags that tell them apart.
pub trait Codec: Sized + 'static {
    /// A message that is read.
    type In: Send + 'static;
    /// A message that is written.
    type Out: Send + 'static;
    /// What says which request a reply belongs to; `()` where the order says it.
    type Tag: Clone + Send + 'static;
    /// Whether replies must leave in the order of their requests.
    const ORDERED: bool;

    /// The next message and its tag, if all of it has arrived; nothing is consumed otherwise.
    ///
    /// # Errors
    /// When the bytes are no message. They cannot be read on then, and the connection ends.
    fn cut(&mut self, input: &mut Chain) -> Result<Cut<Tagged<Self>>, HandlerError>;

    /// Calls `each` for one message after another, as long as whole ones are there and it wants to continue, with the
    /// message's length as it arrived, in bytes. Answers how many bytes of the next one are missing, as far as can be
    /// told; none when none has begun, or `each` has stopped.
    ///
    /// As good as [`cut`](Self::cut) again and again, which is what it does unless a codec knows something cheaper.
    ///
    /// # Errors
    /// As [`cut`](Self::cut). The messages before the bytes that are none were given to `each`.
    #[inline]
    fn cut_run(
        &mut self,
        input: &mut Chain,
        mut each: impl FnMut(Self::Tag, Self::In, usize) -> ControlFlow<()>,
    ) -> Result<usize, HandlerError> {
        while !input.is_empty() {
            let before = input.len();
            match self.cut(input)? {
                Cut::Missing(bytes) => return Ok(bytes),
                Cut::Message((tag, message)) => {
                    if each(tag, message, before - input.len()).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(0)
    }

    /// Writes a message with this tag. Called on the connection's loop.
    ///
    /// # Errors
    /// When it cannot be written, or no block can be had. What is half written must be
    /// [discarded](SegmentWriter::discard).
    fn put(tag: Self::Tag, out: Self::Out, to: &mut SegmentWriter) -> Result<(), HandlerError>;

    /// What a server answers for a request that got no reply. With `None`, the default, its connection ends.
    fn unanswered(tag: &Self::Tag, why: Unanswered) -> Option<Self::Out> {
        let _ = (tag, why);
        None
    }
}
