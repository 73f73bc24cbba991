//! A server: loops that listen.

use std::fmt;
use std::io;

use super::loops::Bound;
use super::socket_file::SocketFile;
use super::{Address, Dialer, Loops, ServerBuilder, Usage};
use crate::driver::Driver;
use crate::reactor::{Maker, Stopper};
use crate::service::MakeHandler;
use crate::sync::Arc;

/// A running server. Dropping it stops it, as [`Stopper::stop`], and waits for it to end; except on the thread of one
/// of its loops, where it only stops it.
pub struct Server {
    addresses: Vec<Address>,
    /// Before the files, which are removed when they have ended.
    loops: Loops,
    _files: Vec<SocketFile>,
}

impl Server {
    /// How servers are set up.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address that the server was bound to, with the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.addresses[0]
    }

    /// All addresses that the server listens at, with the real ports: first the one that it was bound to, then those of
    /// [`ServerBuilder::also_at`], in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Brings connections to the server's loops, from any thread: dialled ones, and descriptors.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.loops.dialer()
    }

    /// Stops the server from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.loops.stopper()
    }

    /// What each loop has counted.
    #[must_use]
    pub fn usage(&self) -> &[Usage] {
        self.loops.usage()
    }

    /// Waits until the server has been stopped and has ended.
    ///
    /// # Errors
    /// When a loop's driver broke. The other loops were stopped then.
    pub fn join(mut self) -> io::Result<()> {
        self.loops.wait()
    }

    pub(super) fn start<D: Driver + 'static>(
        builder: &ServerBuilder,
        address: &Address,
        make: impl MakeHandler,
        factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let make = Arc::new(make);
        let maker = || -> Maker {
            let make = Arc::clone(&make);
            Box::new(move |peer| Box::new(make.make(peer)))
        };
        let addresses: Vec<_> = std::iter::once(address).chain(&builder.also).cloned().collect();
        let (loops, bound) = builder.loops.launch(maker, factory, Some((builder.accept, &addresses)))?;
        let Bound { addresses, files } = bound;
        Ok(Self { addresses, loops, _files: files })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("loops", &self.usage().len())
            .finish_non_exhaustive()
    }
}
