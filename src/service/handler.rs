//! Handlers: code that runs on a connection's loop.

use std::fmt;

use crate::buffer::{Chain, SegmentWriter, WriteError};
use crate::conn::CloseReason;
use crate::net::Address;

/// The error with which a handler gives up on its connection.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// What becomes of the connection after a call. Whatever the handler wrote is sent first, except after `Abort`.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Flow {
    /// Go on.
    Continue,
    /// Handle nothing more, and close when everything written is sent.
    CloseWhenSent,
    /// Close now, with whatever is not sent.
    Abort(HandlerError),
}

/// One connection's application: code that runs on the connection's loop.
///
/// The order of calls is `open`, then any number of `data` and `writable`, then at most one `eof` and at most one
/// `drain`, then `closed`, which is always the last, and comes exactly once, also after a panic. No call runs at the
/// same time as another of the same loop, so a handler needs no locks and need not be `Send`. It must not block: it
/// would block every connection of its loop.
pub trait Handler: 'static {
    /// The connection is established.
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::Continue
    }

    /// Bytes have arrived. What is left in the input stays there for the next call. While the connection is
    /// [congested](Io::is_congested) the handler should return; it is called again with the rest.
    fn data(&mut self, io: &mut Io<'_>) -> Flow;

    /// A congestion is over. `data` follows if bytes are waiting.
    fn writable(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::Continue
    }

    /// The peer has ended its direction; no bytes will follow. Sending is still possible, for as long as the handler
    /// returns `Continue`.
    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::CloseWhenSent
    }

    /// The server stops. A handler that returns `Continue` is given until the end of the drain time.
    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::CloseWhenSent
    }

    /// The connection is gone.
    fn closed(self: Box<Self>, why: CloseReason) {
        let _ = why;
    }
}

/// Makes a handler for each connection; shared by all loops.
pub trait MakeHandler: Send + Sync + 'static {
    /// The handler.
    type Handler: Handler;

    /// Makes the handler of a new connection, on the connection's loop.
    fn make(&self, peer: &Peer) -> Self::Handler;
}

impl<H: Handler, F: Fn(&Peer) -> H + Send + Sync + 'static> MakeHandler for F {
    type Handler = H;

    fn make(&self, peer: &Peer) -> H {
        self(peer)
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's address; for a Unix socket usually an empty path.
    pub address: Address,
}

/// A handler's view of its connection during one call.
pub struct Io<'a> {
    pub(crate) input: &'a mut Chain,
    pub(crate) output: &'a mut SegmentWriter,
    pub(crate) peer: &'a Address,
    pub(crate) unsent: usize,
    pub(crate) high: usize,
    pub(crate) wanted: usize,
}

impl Io<'_> {
    /// The bytes that have arrived and are not consumed.
    pub fn input(&mut self) -> &mut Chain {
        self.input
    }

    /// Where bytes to be sent are written. They leave when the call returns.
    pub fn output(&mut self) -> &mut SegmentWriter {
        self.output
    }

    /// Both at once.
    pub fn split(&mut self) -> (&mut Chain, &mut SegmentWriter) {
        (self.input, self.output)
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> &Address {
        self.peer
    }

    /// Whether more is written than the peer has taken and the high-water mark allows. Writing more is possible, and
    /// costs memory.
    #[inline]
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.unsent + self.output.len() > self.high
    }

    /// Says that the message whose beginning has arrived needs `bytes` more, so that they can be received into one
    /// block. A hint; to be given again when it changes.
    pub fn want(&mut self, bytes: usize) {
        self.wanted = bytes;
    }
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("peer", &self.peer).field("input", &self.input).finish_non_exhaustive()
    }
}

impl From<WriteError> for Flow {
    /// Bytes that cannot be written end the connection.
    fn from(error: WriteError) -> Self {
        Self::Abort(Box::new(error))
    }
}
