//! Handlers: code that runs on a connection's loop.

use std::fmt;

use crate::buffer::{Chain, SegmentWriter, WriteError};
use crate::conn::{CloseReason, Connection, Detached, Door, Handle, Hold};
use crate::driver::Key;
use crate::handover::Wakes;
use crate::net::{Address, Dialer};
use crate::service::local::Locals;

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
    /// As `CloseWhenSent`, because of an error.
    AbortWhenSent(HandlerError),
    /// Another handler takes over. The present one is dropped, and not told of the end. To the new one the
    /// connection is new: it gets `open`, then `data` if bytes wait, then `eof` if the peer has ended, then `drain` if
    /// the server stops. A pause and an end of our direction stay; handles reach the new handler.
    Become(Box<dyn Handler>),
    /// The connection leaves its loop; see [`Flow::detach`].
    Detach(Detach),
}

/// What is done with a connection that leaves its loop.
pub struct Detach(pub(crate) Box<dyn FnOnce(Detached)>);

impl fmt::Debug for Detach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detach")
    }
}

impl Flow {
    /// The connection leaves its loop, with every byte that was received and not consumed, and every byte that was
    /// written and not sent. The handler is told of the end, for [`CloseReason::Detached`]; then `give` gets the
    /// connection, on the loop's thread: it should pass it on to whoever goes on with it, and must not block.
    ///
    /// A connection that breaks just then is closed instead, and `give` is dropped.
    pub fn detach(give: impl FnOnce(Detached) + 'static) -> Self {
        Self::Detach(Detach(Box::new(give)))
    }
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

/// One connection's application: code that runs on the connection's loop.
///
/// The order of calls is `open`, then any number of `data`, `writable` and `woken`, at most one `eof` and at most one
/// `drain` (after `eof` there is no `data`), then `closed`, which is always the last, and comes exactly once, also
/// after a panic. No call runs at the
/// same time as another of the same loop, so a handler needs no locks and need not be `Send`. It must not block: it
/// would block every connection of its loop.
pub trait Handler: 'static {
    /// The connection is established.
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::Continue
    }

    /// Bytes have arrived. What is left in the input stays there for the next call; a message that is not whole and
    /// may be large should be [wanted](Io::want). While the connection is
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

    /// Somebody has called [`Handle::wake`]; everything published before is visible. It comes at any time while the
    /// connection is open, also while it is congested or paused, and after `eof`.
    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::Continue
    }

    /// The server stops. A handler that returns `Continue` is given until the end of the drain time.
    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::CloseWhenSent
    }

    /// The peer wants the connection to end soon; only some transports have a word for that. It still serves for a while: a
    /// caller should finish what is under way, begin nothing new, and end the connection. Comes at most once, at any time
    /// while the connection is open.
    fn leaving(&mut self, io: &mut Io<'_>) -> Flow {
        let _ = io;
        Flow::Continue
    }

    /// Whether bytes are received, and handed to this handler, also while the connection is
    /// [congested](Io::is_congested). For handlers whose output does not come from their input, like a caller's: it and a
    /// server that each read only while they can write would wait for each other for ever. What such a handler does with
    /// the bytes must not make it write more. Asked when the handler gets the connection; must not panic.
    fn reads_on(&self) -> bool {
        false
    }

    /// How many bytes received this handler keeps, beside those it has left in the input. Asked when the loop is over
    /// its memory budget, to find the largest holders; must not panic.
    fn held(&self) -> usize {
        0
    }

    /// Whether this handler reads its input in place, and keeps no part of it beyond a call, be it in the output. Where a
    /// driver's receive buffers are [scarce](crate::driver::Caps::receive_is_scarce), all other handlers are given copies.
    /// Must not panic.
    fn reads_in_place(&self) -> bool {
        false
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

/// Something to be done at the end of a turn of the loop.
pub(crate) type TurnEnd = Box<dyn FnOnce()>;

/// A handler's view of its connection during one call.
pub struct Io<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) output: &'a mut SegmentWriter,
    pub(crate) door: &'a dyn Door,
    pub(crate) turn_ends: &'a mut Vec<TurnEnd>,
    pub(crate) wakes: &'a mut Wakes,
    pub(crate) locals: &'a mut Locals,
    pub(crate) key: Key,
    pub(crate) wanted: usize,
    pub(crate) messages: u64,
    pub(crate) pause: Option<bool>,
    pub(crate) shut: bool,
}

impl Io<'_> {
    /// The bytes that have arrived and are not consumed.
    #[inline]
    pub fn input(&mut self) -> &mut Chain {
        &mut self.connection.input
    }

    /// Where bytes to be sent are written. They leave when the call returns.
    #[inline]
    pub fn output(&mut self) -> &mut SegmentWriter {
        self.output
    }

    /// Both at once.
    #[inline]
    pub fn split(&mut self) -> (&mut Chain, &mut SegmentWriter) {
        (&mut self.connection.input, self.output)
    }

    /// Everything that handling a message may need, at once.
    #[inline]
    pub(super) fn parts(&mut self) -> Parts<'_> {
        Parts { input: &mut self.connection.input, output: self.output, locals: self.locals, door: self.door }
    }

    /// Names the connection on its loop.
    #[inline]
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.connection.peer
    }

    /// Whether more is written than the peer has taken and the high-water mark allows. Writing more is possible, and
    /// costs memory.
    #[inline]
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.unsent() + self.output.len() > self.high()
    }

    /// The bytes written by earlier calls that the transport has not taken yet.
    #[inline]
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.connection.automaton.unsent()
    }

    /// The high-water mark of unsent bytes.
    #[inline]
    #[must_use]
    pub fn high(&self) -> usize {
        self.connection.automaton.marks().high
    }

    /// Receives nothing more, and gets no `data` and no `eof`, until [`resume`](Self::resume). Bytes that are under
    /// way are kept. The kernel's buffers fill up, and then the peer can send no more.
    pub fn pause(&mut self) {
        self.pause = Some(true);
    }

    /// Goes on to receive. `data` follows soon if bytes wait, then `eof` if the peer has ended.
    pub fn resume(&mut self) {
        self.pause = Some(false);
    }

    /// Whether the connection is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pause.unwrap_or_else(|| self.connection.automaton.is_held(Hold::Pause))
    }

    /// Ends our direction behind everything written up to the end of this call; receiving goes on. What is written
    /// later is dropped.
    pub fn shutdown(&mut self) {
        self.shut = true;
    }

    /// Says whether work is under way for this connection elsewhere: while it is, the connection is not closed for
    /// being idle, nor for bytes that wait to be read.
    pub fn set_busy(&mut self, busy: bool) {
        self.connection.busy = busy;
    }

    /// Counts messages handled, for the loop's metrics.
    #[inline]
    pub fn count_messages(&mut self, messages: u64) {
        self.messages += messages;
    }

    /// Has something done, on this thread, when the loop has called the handlers of all connections that are ready
    /// now: for work that is cheaper for many connections at once.
    pub fn at_turn_end(&mut self, run: impl FnOnce() + 'static) {
        self.turn_ends.push(Box::new(run));
    }

    /// Reaches this connection from other threads.
    pub fn handle(&mut self) -> Handle {
        let connection = &mut *self.connection;
        let handle = connection.handle.get_or_insert_with(|| self.door.handle(self.key));
        if connection.automaton.is_shut() {
            handle.retire();
        }
        handle.clone()
    }

    /// Dials from this connection's loop, and adopts connections there: what belongs together need not cross threads.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.door.dialer()
    }

    /// Says that the message whose beginning has arrived needs `bytes` more, so that they can be received into one
    /// block. To be said in each call that leaves the beginning of a message: a call that leaves more than the
    /// [high-water mark](crate::reactor::LoopOptions::unread_marks) unread and wants nothing gets nothing more until
    /// bytes were read.
    pub fn want(&mut self, bytes: usize) {
        self.wanted = bytes;
    }
}

/// See [`Io::parts`].
pub(super) struct Parts<'a> {
    pub(super) input: &'a mut Chain,
    pub(super) output: &'a mut SegmentWriter,
    pub(super) locals: &'a mut Locals,
    pub(super) door: &'a dyn Door,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl From<WriteError> for Flow {
    /// Bytes that cannot be written end the connection.
    fn from(error: WriteError) -> Self {
        Self::Abort(Box::new(error))
    }
}
