//! Bringing connections to loops: dialling, and adopting descriptors.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Address;
use crate::conn::{Detached, Handle};
use crate::handover::{Abandoned, Pending, oneshot};
use crate::reactor::{Adopt, Answer, Dial, DialError, Join, Luggage, Request, Way};
use crate::service::{Handler, Peer};
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::sys;

/// How connections are established.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// How long all of it may take, over all addresses, from the moment at which the loop takes it up; `None` is for
    /// as long as the system tries. Default: 10 s.
    pub timeout: Option<Duration>,
    /// The IP address, and the port or 0, that TCP connections come from. An address that is not of its family, and a
    /// Unix socket, fail. Default: as the system chooses.
    pub local: Option<SocketAddr>,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self { timeout: Some(Duration::from_secs(10)), local: None }
    }
}

/// Establishes connections on a group of loops, from any thread; cheap to clone. Nothing here blocks, and no loop does.
///
/// Got from a [`Server`](super::Server), whose loops then serve both kinds of connection, from [`Loops`](super::Loops)
/// without a listener, or from a handler ([`Io::dialer`](crate::service::Io::dialer)).
#[derive(Clone)]
pub struct Dialer {
    group: Arc<Group>,
    options: DialOptions,
    pinned: Option<usize>,
}

struct Group {
    ways: Vec<Box<dyn Way>>,
    next: AtomicUsize,
}

impl Dialer {
    pub(crate) fn over(ways: Vec<Box<dyn Way>>) -> Self {
        let group = Group { ways, next: AtomicUsize::new(0) };
        Self { group: Arc::new(group), options: DialOptions::default(), pinned: None }
    }

    /// How connections are established.
    #[must_use]
    pub fn options(mut self, options: DialOptions) -> Self {
        self.options = options;
        self
    }

    /// Brings all connections to one loop, by its number modulo [`loops`](Self::loops). Otherwise each loop has one in
    /// turn.
    #[must_use]
    pub fn on(mut self, index: usize) -> Self {
        self.pinned = Some(index);
        self
    }

    /// The number of loops.
    #[must_use]
    pub fn loops(&self) -> usize {
        self.group.ways.len()
    }

    /// Connects to the first of the addresses that can be connected to. They are tried one after another, each until it
    /// fails (there is no race between families as in RFC 8305); for all addresses of a name see
    /// [`Address::resolve_all`]. `make` makes the connection's handler, on its loop.
    ///
    /// To drop the answer is to give the connection up, however far it has come.
    pub fn dial<H: Handler>(
        &self,
        addresses: impl IntoIterator<Item = Address>,
        make: impl FnOnce(&Peer) -> H + Send + 'static,
    ) -> Dialling {
        let DialOptions { timeout, local } = self.options;
        let addresses = addresses.into_iter().collect();
        self.bring(make, |join| Request::Dial(Box::new(Dial { addresses, local, timeout, join })))
    }

    /// Takes in a connected stream socket (`TcpStream`, `UnixStream`, any descriptor), with whatever waits in it. It is
    /// made non-blocking, and so is every duplicate of it; none may be left when the connection is closed, or it would
    /// stay open. Options such as `TCP_NODELAY` stay as they are.
    ///
    /// # Errors
    /// When it is no connected stream socket; then it is closed.
    pub fn adopt<H: Handler>(
        &self,
        socket: impl Into<OwnedFd>,
        make: impl FnOnce(&Peer) -> H + Send + 'static,
    ) -> io::Result<Dialling> {
        let fd = socket.into();
        let peer = sys::adopt(&fd)?;
        let luggage = Luggage::default();
        Ok(self.bring(make, |join| Request::Adopt(Box::new(Adopt { fd, peer, luggage, join }))))
    }

    /// Takes in a connection that was detached from a loop, this group's or another's, and goes on where it was: the
    /// bytes that were not consumed are handed to the handler first, and those that were not sent leave first.
    pub fn take_over<H: Handler>(
        &self,
        detached: Detached,
        make: impl FnOnce(&Peer) -> H + Send + 'static,
    ) -> Dialling {
        let Detached { fd, peer, received, unsent, shut, .. } = detached;
        let luggage = Luggage { received, unsent, shut };
        self.bring(make, |join| Request::Adopt(Box::new(Adopt { fd, peer, luggage, join })))
    }

    fn bring<H: Handler>(
        &self,
        make: impl FnOnce(&Peer) -> H + Send + 'static,
        request: impl FnOnce(Join) -> Request,
    ) -> Dialling {
        let (promise, pending) = oneshot();
        let join = Join { make: Box::new(|peer| Box::new(make(peer))), promise };
        let index = self.pinned.unwrap_or_else(|| {
            // ORDERING: Relaxed: nothing is read on the strength of it.
            self.group.next.fetch_add(1, Ordering::Relaxed)
        });
        let index = index % self.group.ways.len();
        if let Err(refused) = self.group.ways[index].bring(request(join)) {
            refused.refuse();
        }
        Dialling { pending, sweep: Sweep(Some((Arc::clone(&self.group), index))) }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("loops", &self.loops()).field("options", &self.options).finish()
    }
}

/// A connection on its way: a future, or [`wait`](Self::wait). Dropping it gives the connection up: the attempt is
/// ended, and a connection that has come about meanwhile is closed.
#[derive(Debug)]
#[must_use = "dropping it gives the connection up"]
pub struct Dialling {
    /// Goes before what tells the loop that it has gone.
    pending: Pending<Answer>,
    sweep: Sweep,
}

/// Tells the loop that somebody has given up.
struct Sweep(Option<(Arc<Group>, usize)>);

impl Dialling {
    /// Blocks until the connection is established, or is not to be had. Not to be called on a loop's thread.
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn wait(self) -> Result<Handle, DialError> {
        let Self { pending, mut sweep } = self;
        let answer = pending.wait();
        sweep.0 = None;
        settle(answer)
    }

    /// As [`wait`](Self::wait), until a deadline; `None` when it has passed. It can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<Handle, DialError>> {
        let answer = self.pending.wait_until(deadline)?;
        self.sweep.0 = None;
        Some(settle(answer))
    }
}

impl Future for Dialling {
    type Output = Result<Handle, DialError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.pending).poll(context));
        self.sweep.0 = None;
        Poll::Ready(settle(answer))
    }
}

/// A request that was dropped with its loop has come to nothing.
fn settle(answer: Result<Answer, Abandoned>) -> Result<Handle, DialError> {
    let established = answer.unwrap_or(Err(DialError::Stopped))?;
    established.claim().ok_or(DialError::Stopped)
}

impl Drop for Sweep {
    fn drop(&mut self) {
        if let Some((group, index)) = self.0.take() {
            // A loop that has ended has ended its dials.
            drop(group.ways[index].bring(Request::Sweep));
        }
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sweep").field(&self.0.is_some()).finish()
    }
}
