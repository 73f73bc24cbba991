//! How a server is set up.

use std::io;

use super::{Address, LoopsBuilder, Server};
use crate::driver::Driver;
use crate::driver::epoll::{Epoll, Trigger};
use crate::reactor::{LoopOptions, Placement, Spin};
use crate::service::MakeHandler;

/// How connections come to loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Every loop listens by itself, and the kernel spreads connections by a hash of their addresses
    /// (`SO_REUSEPORT`, socket(7)). TCP only; a Unix socket is served as by one acceptor that places in turn.
    EachLoop,
    /// The first loop accepts for all.
    OneLoop(Placement),
}

/// Sets up a [`Server`].
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    pub(super) loops: LoopsBuilder,
    pub(super) accept: Accept,
    pub(super) also: Vec<Address>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self { loops: LoopsBuilder::default(), accept: Accept::EachLoop, also: Vec::new() }
    }
}

impl ServerBuilder {
    /// The number of loops, each a thread with a driver of its own; at least one. Default: one per processor.
    #[must_use]
    pub fn loops(mut self, loops: usize) -> Self {
        self.loops = self.loops.loops(loops);
        self
    }

    /// How connections come to loops. Default: every loop listens.
    #[must_use]
    pub fn accept(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    /// Also listens at `address`, beside the one that the server is bound to: the same loops and handlers serve both. May be
    /// said again, for more. With [`Both`](crate::driver::Both) the connections of one address may go another way
    /// than those of another.
    ///
    /// ```
    /// use linkpoll::driver::epoll::{Epoll, EpollOptions};
    /// use linkpoll::driver::{Both, Side};
    /// use linkpoll::net::{Address, Server};
    /// use linkpoll::service::{Frame, FrameOptions, Reply, Serve};
    ///
    /// let codec = || Frame::new(FrameOptions::default());
    /// let echo = Serve::function(codec, |message, reply: Reply<'_, Frame>| reply.send(message));
    /// let path = std::env::temp_dir().join(format!("echo-{}.sock", std::process::id()));
    ///
    /// // Ports go to the first driver, paths to the second, which may be of any other kind.
    /// let epoll = || Epoll::new(EpollOptions::default());
    /// let server = Server::builder()
    ///     .also_at(&Address::Unix(path))
    ///     .bind_with(&Address::Tcp(([127, 0, 0, 1], 0).into()), echo, move |_| {
    ///         Both::new(epoll()?, epoll()?, Side::by_family)
    ///     })?;
    /// assert_eq!(server.addresses().len(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn also_at(mut self, address: &Address) -> Self {
        self.also.push(address.clone());
        self
    }

    /// Whether loops look for work before they sleep. Default: never.
    #[must_use]
    pub fn spin(mut self, spin: Spin) -> Self {
        self.loops = self.loops.spin(spin);
        self
    }

    /// When the kernel reports a connection. Default: level-triggered.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.loops = self.loops.trigger(trigger);
        self
    }

    /// Everything about loops at once, in place of what was said before.
    #[must_use]
    pub fn options(mut self, options: LoopOptions) -> Self {
        self.loops = self.loops.options(options);
        self
    }

    /// Starts a server on epoll at `address`, with a handler from `make` for each connection. When this returns,
    /// the server accepts.
    ///
    /// # Errors
    /// When a loop cannot be set up, or the address cannot be listened at. Nothing is left running then.
    pub fn bind(self, address: &Address, make: impl MakeHandler) -> io::Result<Server> {
        let epoll = self.loops.epoll;
        self.bind_with(address, make, move |_| Epoll::new(epoll))
    }

    /// As [`bind`](Self::bind), on the drivers that `factory` makes: one for each loop, by number, on its thread.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and those of the factory.
    pub fn bind_with<D: Driver + 'static>(
        self,
        address: &Address,
        make: impl MakeHandler,
        factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
    ) -> io::Result<Server> {
        Server::start(&self, address, make, factory)
    }
}
