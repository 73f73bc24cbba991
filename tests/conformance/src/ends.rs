//! What is at the other end of a driver's connections.

use std::io;
use std::thread::{self, JoinHandle};

use linkpoll::net::Address;

/// The other end of a connection. What it writes leaves it as far as the transport has room; what it does not read stays
/// where it is, in the driver's way. Dropped, it closes: behind everything that it has written, with its direction ended.
///
/// Nothing here waits for longer than the bed's patience: it panics then.
pub trait Peer: Send + Sized + 'static {
    /// Writes everything, or panics. Waits for room only when there is much to write: 100,000 bytes find some in any
    /// transport, or in the peer itself.
    fn write(&mut self, bytes: &[u8]);

    /// Writes as many of these bytes as the transport takes at once; answers how many it took.
    fn offer(&mut self, bytes: &[u8]) -> usize;

    /// Reads at most `n` bytes, if some come within the patience. None at the end of the stream.
    fn read_some(&mut self, n: usize) -> Option<Vec<u8>>;

    /// Ends the peer's direction.
    fn end(&mut self);

    /// Goes without having ended its direction, as a peer does that dies.
    fn reset(self);

    /// Sends an urgent byte, see [`Ability::UrgentBytes`](crate::Ability::UrgentBytes). To be written for transports that
    /// have some.
    ///
    /// # Panics
    /// On the others.
    fn urgent(&mut self, byte: u8) {
        panic!("no urgent {byte:?}: this transport has none, as its bed must say");
    }

    /// Writes for as long as the transport takes bytes at once; answers how many it took.
    fn fill(&mut self) -> usize {
        let bytes = vec![b'f'; 1 << 16];
        let mut filled = 0;
        loop {
            let taken = self.offer(&bytes);
            filled += taken;
            if taken < bytes.len() {
                return filled;
            }
        }
    }

    /// Reads exactly `n` bytes, or panics.
    #[must_use]
    fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n);
        while bytes.len() < n {
            let more = self.read_some(n - bytes.len());
            bytes.extend(more.unwrap_or_else(|| panic!("the end after {} of {n} bytes", bytes.len())));
        }
        bytes
    }

    /// Reads up to the end of the stream, or panics.
    #[must_use]
    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(more) = self.read_some(1 << 16) {
            bytes.extend(more);
        }
        bytes
    }
}

/// A peer that connects to a driver's listener. The system has the connection; whatever else it takes is under way.
#[derive(Debug)]
pub enum Dialling<P> {
    /// It takes nothing else.
    Done(P),
    /// The driver has to do something for it.
    UnderWay(JoinHandle<P>),
}

impl<P> Dialling<P> {
    /// The peer. Blocks until its connection is made, or panics.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn peer(self) -> P {
        match self {
            Self::Done(peer) => peer,
            Self::UnderWay(peer) => peer.join().expect("a connection can be made"),
        }
    }

    pub(crate) fn map<Q>(self, map: impl FnOnce(P) -> Q + Send + 'static) -> Dialling<Q>
    where
        P: Send + 'static,
        Q: Send + 'static,
    {
        match self {
            Self::Done(peer) => Dialling::Done(map(peer)),
            under_way @ Self::UnderWay(_) => Dialling::UnderWay(thread::spawn(|| map(under_way.peer()))),
        }
    }
}

/// Somebody who listens, for a driver to connect to.
#[must_use = "nobody listens any more when it is dropped"]
pub struct Listening<P> {
    /// Where, with the real port.
    pub address: Address,
    accept: Box<dyn FnOnce() -> P + Send>,
}

impl<P: Peer> Listening<P> {
    /// `accept` waits for the first connection, and does all that it takes.
    pub fn new(address: Address, accept: impl FnOnce() -> P + Send + 'static) -> Self {
        Self { address, accept: Box::new(accept) }
    }

    pub(crate) fn map<Q: Peer>(self, map: impl FnOnce(P) -> Q + Send + 'static) -> Listening<Q> {
        let Self { address, accept } = self;
        Listening::new(address, || map(accept()))
    }

    /// Accepts one connection, while the driver goes on.
    #[must_use]
    pub fn accept(self) -> JoinHandle<P> {
        thread::spawn(self.accept)
    }
}

impl<P> std::fmt::Debug for Listening<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What becomes of a connection that a bed's peer tries to make.
pub type Dialled<P> = io::Result<Dialling<P>>;
