//! Clients: calls from any thread over one connection, pipelined.
//!
//! ```text
//!   caller                        loop
//!   ------                        ----
//!   count one more, or Full       woken:  take the queue, write each request, remember who waits
//!   put request + promise into    data:   cut replies; each ends the call that it belongs to
//!     the connection's queue      closed: close the queue; every call that is left ends in an error
//!   wake the handler (coalesced)
//! ```
//!
//! A burst of calls while the loop is awake or has been woken costs one message to it, and one send to the peer.
//!
//! # The life of a call
//!
//! | state | left by |
//! |---|---|
//! | queued | written; or `NotSent`, `Full`, `Unwritable`; or forgotten: a request that nobody waits for any more is not written |
//! | under way | its reply; or `Closed` |
//! | over | |
//!
//! Whoever waits may stop waiting, or go, at any time: that changes nothing for the other calls. The reply to a call
//! under way is still awaited, because in an ordered protocol it stands before the others', and is thrown away. So a
//! deadline that passes costs no connection. Until its reply has come such a call counts as under way.
//!
//! **A server that leaves** says so where the transport has a word for it ([`Handler::leaving`](super::Handler::leaving)). Calls that were made before
//! are sent and answered; a later one ends as `NotSent`, and the connection is closed when the last answer has come. So a
//! server that is replaced costs no call whose fate is unknown.
//!
//! # Races
//!
//! * *A call and the end of the connection.* The queue is closed by the loop, once. A request is put in before that and
//!   found by the loop, then or at the close; or it comes back to its caller, who answers itself with `NotSent`.
//! * *A call and another's wake.* The request is put in before the wake; the handler takes the queue after the wake was
//!   taken, and finds it (`handover::Signal`).

mod call;
mod calls;
mod outstanding;

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::{Codec, Peer};
use crate::conn::Handle;
use crate::handover::{Promise, Queue, oneshot};
use crate::net::{Address, DialError, Dialer, Dialling};
use crate::sync::{Arc, AtomicUsize, Ordering};
pub use call::{Call, CallError, UnexpectedReply};
use calls::Calls;
pub use outstanding::CallTag;

/// What a client allows.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// The most calls that are queued or under way; a further one ends with [`CallError::Full`]. Default: 65,536.
    pub most_calls: usize,
    /// The bytes that may wait to be sent; above it, calls end with [`CallError::Full`]. Default: 64 MiB.
    pub most_unsent: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { most_calls: 65_536, most_unsent: 64 << 20 }
    }
}

/// What callers and the connection's handler share.
struct Line<C: Codec> {
    queue: Queue<Order<C>>,
    /// Calls that are queued or under way.
    calls: AtomicUsize,
    options: ClientOptions,
}

/// What callers want of the connection.
enum Order<C: Codec> {
    Call(C::Out, Waiting<C>),
    /// No further calls: close when those before have ended.
    Close,
}

/// Who waits for a reply.
type Waiting<C> = Promise<Result<<C as Codec>::In, CallError>>;

impl<C: Codec> Line<C> {
    /// One more call, if there is room for it.
    fn begin(&self) -> bool {
        // ORDERING: Relaxed, as in `end`: the value is all there is to see.
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        if before >= self.options.most_calls {
            self.end();
            return false;
        }
        true
    }

    fn end(&self) {
        // ORDERING: Relaxed: see `begin`.
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call is over.
    fn answer(&self, waiting: Waiting<C>, answer: Result<C::In, CallError>) {
        // First, so that whoever gets the answer may make another call.
        self.end();
        waiting.fulfil(answer);
    }
}

/// Makes calls over one connection, from any thread; cheap to clone. With the last clone the connection is closed, once
/// the calls under way have ended.
pub struct Client<C: Codec>(Arc<Inner<C>>);

struct Inner<C: Codec> {
    line: Arc<Line<C>>,
    handle: Handle,
}

impl<C: Codec + Send> Client<C>
where
    C::Tag: CallTag,
{
    /// Establishes a connection for calls to the first of the addresses that can be connected to; see
    /// [`Dialer::dial`].
    pub fn dial(
        dialer: &Dialer,
        addresses: impl IntoIterator<Item = Address>,
        codec: C,
        options: ClientOptions,
    ) -> Connecting<C> {
        let (line, make) = Self::line(codec, options);
        Connecting { dialling: dialer.dial(addresses, make), line }
    }

    /// Uses a connection that is there already; see [`Dialer::adopt`].
    ///
    /// # Errors
    /// As [`Dialer::adopt`].
    pub fn adopt(
        dialer: &Dialer,
        socket: impl Into<OwnedFd>,
        codec: C,
        options: ClientOptions,
    ) -> io::Result<Connecting<C>> {
        let (line, make) = Self::line(codec, options);
        Ok(Connecting { dialling: dialer.adopt(socket, make)?, line })
    }

    fn line(
        codec: C,
        options: ClientOptions,
    ) -> (Arc<Line<C>>, impl FnOnce(&Peer) -> Calls<C> + Send + 'static) {
        let line = Arc::new(Line { queue: Queue::new(), calls: AtomicUsize::new(0), options });
        let same = Arc::clone(&line);
        (line, move |_: &Peer| Calls::new(codec, same))
    }
}

impl<C: Codec> Client<C> {
    /// Sends a request. Requests of one thread leave in their order. Never blocks; what goes wrong is told by the
    /// answer.
    pub fn call(&self, request: C::Out) -> Call<C::In> {
        let Inner { line, handle } = &*self.0;
        let (promise, pending) = oneshot();
        if !line.begin() {
            promise.fulfil(Err(CallError::Full));
        } else if let Err(Order::Call(_, promise)) = line.queue.push(Order::Call(request, promise)) {
            line.end();
            promise.fulfil(Err(CallError::NotSent));
        } else {
            handle.wake();
        }
        Call::new(pending)
    }

    /// The connection. Bytes [sent](Handle::send) through it leave between requests, and what they are answered with is
    /// taken for replies.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Makes no further calls, and closes the connection when those under way have ended.
    pub fn close(&self) {
        self.0.close();
    }

    /// The calls that are queued or under way, at some recent moment.
    #[must_use]
    pub fn calls(&self) -> usize {
        // ORDERING: Relaxed: see `Line::begin`.
        self.0.line.calls.load(Ordering::Relaxed)
    }
}

impl<C: Codec> Inner<C> {
    fn close(&self) {
        // A closed queue needs no further word.
        if self.line.queue.push(Order::Close).is_ok() {
            self.handle.wake();
        }
    }
}

impl<C: Codec> Drop for Inner<C> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<C: Codec> Clone for Client<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Codec> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("handle", &self.0.handle).field("calls", &self.calls()).finish()
    }
}

/// A client whose connection is on its way: a future, or [`wait`](Self::wait). Dropping it gives the connection up.
#[must_use = "dropping it gives the connection up"]
pub struct Connecting<C: Codec> {
    dialling: Dialling,
    line: Arc<Line<C>>,
}

impl<C: Codec> Connecting<C> {
    /// Blocks until the connection is established, or is not to be had. Not to be called on a loop's thread.
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn wait(self) -> Result<Client<C>, DialError> {
        let Self { dialling, line } = self;
        Ok(Client(Arc::new(Inner { line, handle: dialling.wait()? })))
    }

    /// As [`wait`](Self::wait), until a deadline; `None` when it has passed. It can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<Client<C>, DialError>> {
        let answer = self.dialling.wait_until(deadline)?;
        Some(self.settle(answer))
    }

    fn settle(&self, answer: Result<Handle, DialError>) -> Result<Client<C>, DialError> {
        Ok(Client(Arc::new(Inner { line: Arc::clone(&self.line), handle: answer? })))
    }
}

impl<C: Codec> Future for Connecting<C> {
    type Output = Result<Client<C>, DialError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.dialling).poll(context));
        Poll::Ready(self.settle(answer))
    }
}

impl<C: Codec> fmt::Debug for Connecting<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").field("dialling", &self.dialling).finish()
    }
}
