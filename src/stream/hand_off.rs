//! Handing a connection off: the handler that stays behind on the loop.

use std::fmt;

use super::loop_end::{LoopEnd, Receiving};
use super::shared::Shared;
use super::{AtDrain, Ended, Options, ReadHalf, Stream, WriteHalf};
use crate::buffer::LinkBuffer;
use crate::conn::{CloseReason, Handle};
use crate::net::Address;
use crate::service::{Flow, Handler, Io, MakeHandler, Peer};
use crate::sync::Arc;

/// Hands each connection off as a [`Stream`]: gives it to `take`, on the connection's loop, which must not block. It
/// sends the stream where it is wanted, or spawns a task or a thread for it.
///
/// ```
/// use linkpoll::net::{Address, Server};
/// use linkpoll::stream::{self, Stream};
/// use std::io::{Read, Write};
///
/// # fn main() -> std::io::Result<()> {
/// let hand_off = stream::hand_off(|mut stream: Stream| {
///     std::thread::spawn(move || stream.write_all(b"hello"));
/// });
/// let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, hand_off)?;
/// # let mut client = std::net::TcpStream::connect(server.address().to_string())?;
/// # let mut heard = String::new();
/// # client.read_to_string(&mut heard)?;
/// # assert_eq!(heard, "hello");
/// # Ok(())
/// # }
/// ```
pub fn hand_off<F: Fn(Stream) + Send + Sync + 'static>(take: F) -> HandOff<F> {
    HandOff { take: Arc::new(take), options: Options::default() }
}

/// Makes the handlers for [`hand_off`].
pub struct HandOff<F> {
    take: Arc<F>,
    options: Options,
}

impl<F> HandOff<F> {
    /// How the streams behave.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
}

impl<F> Clone for HandOff<F> {
    fn clone(&self) -> Self {
        Self { take: Arc::clone(&self.take), options: self.options }
    }
}

impl<F> fmt::Debug for HandOff<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOff").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<F: Fn(Stream) + Send + Sync + 'static> MakeHandler for HandOff<F> {
    type Handler = Self;

    fn make(&self, _peer: &Peer) -> Self {
        self.clone()
    }
}

impl<F: Fn(Stream) + Send + Sync + 'static> Handler for HandOff<F> {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        let (stream, flow) = Stream::hand_off(io, self.options);
        (self.take)(stream);
        flow
    }

    /// Not called: `open` has put another handler in this one's place.
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }
}

impl Stream {
    /// Hands a connection off in the middle of it. The handler that calls this must return the answered `Flow`: what it
    /// has written is sent, what it has left in the input is what the stream reads first, and it is dropped.
    ///
    /// The stream of a handler that returns something else ends with an error.
    pub fn hand_off(io: &mut Io<'_>, options: Options) -> (Self, Flow) {
        let (end, read, write) = ends(io.handle(), io.peer().clone(), options);
        let handler = Streaming { end, shut: false };
        (Self::new(read, write), Flow::Become(Box::new(handler)))
    }
}

/// The loop's end of a new stream, and its halves.
pub(super) fn ends(handle: Handle, peer: Address, options: Options) -> (LoopEnd, ReadHalf, WriteHalf) {
    let shared = Arc::new(Shared::new(handle, peer));
    let (incoming, from_loop) = LinkBuffer::new();
    let (to_loop, outgoing) = LinkBuffer::new();
    let end = LoopEnd::new(Arc::clone(&shared), options, incoming, outgoing);
    let read = ReadHalf::new(Arc::clone(&shared), from_loop);
    (end, read, WriteHalf::new(shared, to_loop, options))
}

/// The handler of a connection that was handed off.
struct Streaming {
    end: LoopEnd,
    /// Our direction is ended.
    shut: bool,
}

impl Streaming {
    /// Sends what was written, unless the connection is congested. Then it stays where it is, and the writer waits.
    fn send(&mut self, io: &mut Io<'_>) -> Flow {
        if !io.is_congested() {
            let chain = self.end.take(io.wakes);
            if !chain.is_empty() {
                io.output().link_chain(chain);
            }
        }
        if !self.end.is_written() {
            return Flow::Continue;
        }
        if self.end.is_read() {
            return Flow::CloseWhenSent;
        }
        if !std::mem::replace(&mut self.shut, true) {
            io.shutdown();
        }
        Flow::Continue
    }
}

impl Handler for Streaming {
    fn reads_on(&self) -> bool {
        true
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let bytes = std::mem::take(io.input());
        if self.end.arrived(bytes, io.wakes) == Receiving::Pause {
            io.pause();
        }
        Flow::Continue
    }

    fn writable(&mut self, io: &mut Io<'_>) -> Flow {
        self.send(io)
    }

    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        self.end.ended(io.wakes);
        self.send(io)
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        if self.end.may_go_on() {
            io.resume();
        }
        self.send(io)
    }

    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        if self.end.at_drain() == AtDrain::End {
            self.end.ended(io.wakes);
            // What arrives now is thrown away.
            io.resume();
        }
        self.send(io)
    }

    fn held(&self) -> usize {
        self.end.unread()
    }

    fn closed(mut self: Box<Self>, why: CloseReason) {
        self.end.gone(Ended::from(&why));
    }
}
