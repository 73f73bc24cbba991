//! Streams of dialled and adopted connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::{Options, Stream};
use crate::handover::{Pending, Promise, oneshot};
use crate::net::{Address, Dialer, Dialling};
use crate::reactor::DialError;
use crate::service::{Flow, Handler, Io};

/// Hands its connection off, to whoever waits for it.
struct Delivering {
    promise: Option<Promise<Stream>>,
    options: Options,
}

impl Handler for Delivering {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        let (stream, flow) = Stream::hand_off(io, self.options);
        if let Some(promise) = self.promise.take() {
            promise.fulfil(stream);
        }
        flow
    }

    /// Not called: `open` has put another handler in this one's place.
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }
}

impl Dialer {
    /// As [`dial`](Self::dial), for a stream.
    pub fn dial_stream(&self, addresses: impl IntoIterator<Item = Address>, options: Options) -> Connecting {
        let (promise, stream) = oneshot();
        let dialling = self.dial(addresses, move |_| Delivering { promise: Some(promise), options });
        Connecting { dialling: Some(dialling), stream }
    }

    /// As [`adopt`](Self::adopt), for a stream.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_stream(&self, socket: impl Into<OwnedFd>, options: Options) -> io::Result<Connecting> {
        let (promise, stream) = oneshot();
        let dialling = self.adopt(socket, move |_| Delivering { promise: Some(promise), options })?;
        Ok(Connecting { dialling: Some(dialling), stream })
    }
}

/// A stream on its way: a future, or [`wait`](Self::wait). Dropping it gives the connection up.
#[must_use = "dropping it gives the connection up"]
pub struct Connecting {
    /// None once the connection is established.
    dialling: Option<Dialling>,
    stream: Pending<Stream>,
}

impl Connecting {
    /// Blocks until the connection is established, or is not to be had. Not to be called on a loop's thread.
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn wait(self) -> Result<Stream, DialError> {
        if let Some(dialling) = self.dialling {
            dialling.wait()?;
        }
        self.stream.wait().map_err(|_| DialError::Stopped)
    }

    /// As [`wait`](Self::wait), until a deadline; `None` when it has passed. It can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<Result<Stream, DialError>> {
        if let Some(dialling) = &mut self.dialling {
            let outcome = dialling.wait_until(deadline)?;
            self.dialling = None;
            if let Err(error) = outcome {
                return Some(Err(error));
            }
        }
        Some(self.stream.wait_until(deadline)?.map_err(|_| DialError::Stopped))
    }
}

impl Future for Connecting {
    type Output = Result<Stream, DialError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(dialling) = &mut self.dialling {
            let outcome = ready!(Pin::new(dialling).poll(context));
            self.dialling = None;
            outcome?;
        }
        Pin::new(&mut self.stream).poll(context).map_err(|_| DialError::Stopped)
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").field("established", &self.dialling.is_none()).finish_non_exhaustive()
    }
}
