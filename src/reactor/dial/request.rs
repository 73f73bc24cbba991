//! What other threads ask a loop for when they bring it connections, and what they are answered.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::buffer::Chain;
use crate::conn::Handle;
use crate::handover::{Post, Promise};
use crate::net::Address;
use crate::reactor::Mail;
use crate::service::{Handler, Peer};

/// What a loop is asked for.
pub(crate) enum Request {
    /// A connection to be established.
    Dial(Box<Dial>),
    /// A connection that is there.
    Adopt(Box<Adopt>),
    /// Somebody has given up waiting: dials that nobody waits for any more are to be ended.
    Sweep,
}

/// A connection to be established.
pub(crate) struct Dial {
    /// Tried in this order.
    pub(crate) addresses: VecDeque<Address>,
    pub(crate) local: Option<SocketAddr>,
    /// For all of it.
    pub(crate) timeout: Option<Duration>,
    pub(crate) join: Join,
}

/// A connection that is there.
pub(crate) struct Adopt {
    pub(crate) fd: OwnedFd,
    pub(crate) peer: Address,
    pub(crate) luggage: Luggage,
    pub(crate) join: Join,
}

/// What a connection brings along from where it was before.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    /// Received, and not handled.
    pub(crate) received: Chain,
    /// To be sent before anything else.
    pub(crate) unsent: Chain,
    /// Our direction ends behind that.
    pub(crate) shut: bool,
}

/// Makes the handler of one connection.
pub(crate) type MakeOne = Box<dyn FnOnce(&Peer) -> Box<dyn Handler> + Send>;

/// How a connection joins its loop.
pub(crate) struct Join {
    pub(crate) make: MakeOne,
    pub(crate) promise: Promise<Answer>,
}

/// What is answered.
pub(crate) type Answer = Result<Established, DialError>;

/// A connection on its way to whoever waits for it. Nobody has taken it when it is dropped, and then the connection
/// is closed: so a wait that is given up leaves nothing behind, at whatever moment.
pub(crate) struct Established(Option<Handle>);

impl Established {
    pub(super) fn new(handle: Handle) -> Self {
        Self(Some(handle))
    }

    /// Takes the connection over.
    pub(crate) fn claim(mut self) -> Option<Handle> {
        self.0.take()
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.abort();
        }
    }
}

/// The way to a loop, for those who bring it connections.
pub(crate) trait Way: Send + Sync + 'static {
    /// Gives the request back when the loop has ended.
    fn bring(&self, request: Request) -> Result<(), Request>;
}

impl<S: Send + 'static> Way for Post<Mail<S>> {
    fn bring(&self, request: Request) -> Result<(), Request> {
        match self.send(Mail::Request(request)) {
            Err(Mail::Request(request)) => Err(request),
            _ => Ok(()),
        }
    }
}

impl Request {
    /// Answers for a loop that takes no more connections.
    pub(crate) fn refuse(self) {
        let promise = match self {
            Self::Dial(dial) => dial.join.promise,
            Self::Adopt(adopt) => adopt.join.promise,
            Self::Sweep => return,
        };
        promise.fulfil(Err(DialError::Stopped));
    }
}

/// An address that was tried, and what came of it.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: Address,
    /// As connect(2) has it, or bind(2) where a local address was asked for.
    pub error: io::Error,
}

/// No connection has come about.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// There was no address to try.
    NoAddress,
    /// Every address failed, in this order.
    Failed(Vec<Attempt>),
    /// The time was over. These had failed before; the next was under way.
    TimedOut(Vec<Attempt>),
    /// The loop has the most connections that it may have.
    Full,
    /// The loop is stopping, or has ended.
    Stopped,
    /// The handler could not be made: the closure panicked.
    Panicked,
    /// A descriptor cannot be taken in: the loop's driver has no use for one, or cannot watch it.
    NotTaken,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried = |attempts: &[Attempt], f: &mut fmt::Formatter<'_>| {
            let mut parts = attempts.iter();
            parts.try_for_each(|it| write!(f, "; {}: {}", it.address, it.error))
        };
        match self {
            Self::NoAddress => f.write_str("there is no address to connect to"),
            Self::Failed(attempts) => {
                f.write_str("no address could be connected to")?;
                tried(attempts, f)
            }
            Self::TimedOut(attempts) => {
                f.write_str("no connection was established in time")?;
                tried(attempts, f)
            }
            Self::Full => f.write_str("the loop has too many connections"),
            Self::Stopped => f.write_str("the loop has stopped"),
            Self::Panicked => f.write_str("the connection's handler could not be made"),
            Self::NotTaken => f.write_str("the loop cannot take the descriptor in"),
        }
    }
}

impl std::error::Error for DialError {
    /// The last address's error.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(attempts) | Self::TimedOut(attempts) => attempts.last().map(|it| &it.error as _),
            _ => None,
        }
    }
}
