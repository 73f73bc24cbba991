//! What a load does.

use std::io;
use std::time::Duration;

use super::error::LoadError;
use super::shape::Shape;
use super::stalled::StalledShape;
use super::wire::Wire;
use crate::address::Address;
#[cfg(feature = "shm")]
use crate::cli::Doorbell;
use crate::cli::{LoadArguments, LoadSpin, Medium};

/// Without any reply for so long, with requests in flight, the load gives up. So long it waits for a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a load does.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The server.
    pub(crate) address: Address,
    /// Whether connections are sessions in shared memory, and not sockets.
    pub(crate) shared: bool,
    /// How many connections and requests, and how large.
    pub(crate) shape: Shape,
    /// Peers beside the measured ones that never read.
    pub(crate) stalled: StalledShape,
    /// Time before the measurement.
    pub(crate) warmup: Duration,
    /// Time during which requests are started; their replies are awaited.
    pub(crate) duration: Duration,
    /// Requests per second over all connections (open loop); `None`: as fast as replies come (closed loop).
    pub(crate) rate: Option<f64>,
    /// Processor time between a reply and the next request (closed loop).
    pub(crate) think: Duration,
    /// How sessions in shared memory are woken.
    #[cfg(feature = "shm")]
    pub(crate) doorbell: Option<Doorbell>,
    /// One request in so many is slow, and its latency is left out.
    pub(crate) slow_every: Option<u64>,
    /// Whether waiting polls before it sleeps.
    pub(crate) spin: LoadSpin,
}

/// Descriptors of a session in shared memory: its socket, both regions, and with eventfds two more.
pub(crate) const DESCRIPTORS_OF_A_SESSION: u64 = 5;

impl Config {
    /// Opens the connection `number`, counted from 0 over all of them. Waits for it for as long as for a reply.
    pub(super) fn open(&self, number: usize) -> Result<Wire, LoadError> {
        let opened =
            if self.shared { self.share() } else { self.address.connect(PATIENCE).map(Wire::Socket) };
        opened.map_err(|source| LoadError::Connect {
            address: self.address.clone(),
            number: u32::try_from(number + 1).unwrap_or(u32::MAX),
            of: self.shape.connections.saturating_add(self.stalled.connections),
            source,
        })
    }

    #[cfg(feature = "shm")]
    fn share(&self) -> io::Result<Wire> {
        let Address::Unix(path) = &self.address else {
            let text = "shared memory connects through the path of a Unix socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let options = linkpoll_shm::handshake::Options {
            doorbell: self.doorbell.map(Into::into).unwrap_or_default(),
            ..Default::default()
        };
        let established = linkpoll_shm::handshake::connect(path, &options)?;
        Ok(Wire::Shared(Box::new(linkpoll_shm::session::Session::new(established)?)))
    }

    #[cfg(not(feature = "shm"))]
    fn share(&self) -> io::Result<Wire> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl From<&LoadArguments> for Config {
    fn from(arguments: &LoadArguments) -> Self {
        let size = usize::try_from(arguments.size).unwrap_or(usize::MAX);
        Self {
            address: arguments.connect.clone(),
            shared: arguments.transport != Medium::Socket,
            shape: Shape { connections: arguments.connections, depth: arguments.depth, size },
            stalled: StalledShape { connections: arguments.stalled, bytes: arguments.stalled_bytes },
            warmup: arguments.warmup,
            duration: arguments.duration,
            rate: arguments.rate,
            think: arguments.think,
            #[cfg(feature = "shm")]
            doorbell: arguments.doorbell,
            slow_every: arguments.slow_every,
            spin: arguments.spin,
        }
    }
}
