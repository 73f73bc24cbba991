//! Serving: a codec, a service that answers its messages, and how they are brought together.

use std::fmt;
use std::marker::PhantomData;

use super::{Codec, MakeHandler, Peer, Reply, Serving, Unanswered, WorkPool};
use crate::sync::{Arc, unique};

/// Answers requests. One value serves all connections, on all loops.
///
/// A call must not block where it is made on the loop, see [`Serve`]. It answers through `reply`, at once or, with
/// [`Reply::later`], at any time from any thread.
///
/// A closure is a service, see [`Serve::function`].
pub trait Service<C: Codec>: Send + Sync + 'static {
    /// Answers a request.
    fn call(&self, message: C::In, reply: Reply<'_, C>);
}

impl<C: Codec, F: Fn(C::In, Reply<'_, C>) + Send + Sync + 'static> Service<C> for F {
    #[inline(always)]
    fn call(&self, message: C::In, reply: Reply<'_, C>) {
        self(message, reply);
    }
}

/// The limits of each connection of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// The most calls whose replies have not left. While there are as many, no more messages are read. Default: 128.
    pub max_in_flight: usize,
    /// The bytes that messages of unanswered calls had when they arrived; at so many or more, no more messages are
    /// read. Default: 256 KiB.
    pub max_held: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { max_in_flight: 128, max_held: 256 << 10 }
    }
}

/// Where a service's calls are made.
#[derive(Clone, Debug, Default)]
pub enum Dispatch {
    /// On the loop of the connection, one after another. The cheapest way, for calls that are short and never block.
    #[default]
    Inline,
    /// On the threads of a pool, any number of them at a time, in no order. For calls that take long, or block. A call
    /// whose connection is closed before a worker comes for it is not made, and counted as
    /// [skipped](super::WorkMetrics::skipped); one that is being made may ask whether it
    /// [still matters](Reply::is_abandoned).
    Pool(WorkPool),
}

/// What all handlers of a service share.
pub(super) struct Setup<S> {
    /// By which handlers of one service find each other on a loop.
    pub(super) number: u64,
    pub(super) service: Arc<S>,
    pub(super) options: ServeOptions,
    pub(super) dispatch: Dispatch,
}

/// The service as workers know it: without the pool, which must not be kept by its own work.
pub(super) struct Shared<S>(pub(super) Arc<S>);

impl<C: Codec, S: Service<C>> Service<C> for Shared<S> {
    fn call(&self, message: C::In, reply: Reply<'_, C>) {
        self.0.call(message, reply);
    }
}

/// Makes the handlers that serve a service: what [`ServerBuilder::bind`](crate::net::ServerBuilder::bind) takes.
///
/// ```
/// use linkpoll::net::{Address, Server};
/// use linkpoll::service::{Frame, Serve};
///
/// let echo = Serve::function(Frame::default, |message, reply| reply.send(message));
/// let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, echo)?;
/// # server.stopper().stop();
/// # server.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What becomes of a connection
///
/// * Replies of an [ordered](Codec::ORDERED) protocol leave in the order of their requests, however late each of them
///   is answered; of any other, as they come.
/// * A call that panics on the loop closes its connection. In a pool, the call is left unanswered.
/// * A call that is left unanswered gets the answer that the codec has for that. If it has none, the replies before it
///   leave, and the connection is closed.
/// * Bytes that are no message end the reading. Calls before them are answered, then the connection is closed.
/// * When the peer ends its direction, and when the server drains, calls that have begun are still answered.
/// * When the connection is lost, answers that come later are dropped.
pub struct Serve<C, M, S> {
    make_codec: M,
    setup: Arc<Setup<S>>,
    codec: PhantomData<fn() -> C>,
}

impl<C: Codec, M: Fn() -> C + Send + Sync + 'static, S: Service<C>> Serve<C, M, S> {
    /// Serves with `service`. Each connection gets a codec from `make_codec`.
    pub fn new(make_codec: M, service: S) -> Self {
        let (service, options) = (Arc::new(service), ServeOptions::default());
        let setup = Setup { number: unique(), service, options, dispatch: Dispatch::default() };
        Self { make_codec, setup: Arc::new(setup), codec: PhantomData }
    }

    /// As [`new`](Self::new), for a closure, whose arguments need no types here.
    pub fn function(make_codec: M, service: S) -> Self
    where
        S: Fn(C::In, Reply<'_, C>) + Send + Sync + 'static,
    {
        Self::new(make_codec, service)
    }

    /// The limits of each connection.
    #[must_use]
    pub fn options(self, options: ServeOptions) -> Self {
        self.set(|setup| setup.options = options)
    }

    /// Where calls are made. Default: on the loop.
    #[must_use]
    pub fn dispatch(self, dispatch: Dispatch) -> Self {
        self.set(|setup| setup.dispatch = dispatch)
    }

    fn set(mut self, change: impl FnOnce(&mut Setup<S>)) -> Self {
        // Nobody else has it before the first handler is made, and then there is nobody who could call this.
        if let Some(setup) = Arc::get_mut(&mut self.setup) {
            change(setup);
        }
        self
    }
}

impl<C: Codec, M: Fn() -> C + Send + Sync + 'static, S: Service<C>> MakeHandler for Serve<C, M, S> {
    type Handler = Serving<C, S>;

    fn make(&self, _peer: &Peer) -> Serving<C, S> {
        Serving::new((self.make_codec)(), Arc::clone(&self.setup))
    }
}

impl<C, M, S> fmt::Debug for Serve<C, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("options", &self.setup.options)
            .field("dispatch", &self.setup.dispatch)
            .finish_non_exhaustive()
    }
}

/// A call was left unanswered, and the protocol has no answer for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallUnanswered(pub Unanswered);

impl fmt::Display for CallUnanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Unanswered::Dropped => "a call was left unanswered",
            Unanswered::Panicked => "a call panicked",
        })
    }
}

impl std::error::Error for CallUnanswered {}
