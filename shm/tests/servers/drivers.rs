//! Servers and loops as the core's tests set them up, over shared memory; and other ends for their sessions.
//!
//! The same methods as `linkpoll::net` has, as far as those tests use them; what is made is the core's.

use std::io;
use std::net::TcpStream;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::time::Duration;

use linkpoll::conn::Marks;
use linkpoll::driver::epoll::Trigger;
use linkpoll::net::{self, Accept, Address};
use linkpoll::reactor::{LoopOptions, Spin};
use linkpoll::service::MakeHandler;
use linkpoll_conformance::{Bed as _, Family, Place};
use linkpoll_shm::handshake::Doorbell;
use linkpoll_shm::{ShmDriver, ShmOptions};

use crate::relay::relay;
use crate::sessions::ShmBed;

/// What an idle client waits for, whatever a test does meanwhile.
const FOR_EVER: Duration = Duration::from_secs(3600);
const CLIENTS: ShmBed = ShmBed { ring: 64 << 10, doorbell: Doorbell::Socket, receive_budget: 256 << 10 };

/// An address where nobody listens yet.
pub(crate) fn any_port() -> Address {
    // Its file is removed by the server that is bound to it.
    Place::new(Family::Unix).address().clone()
}

/// A client: a session, with a socket at this end of it.
pub(crate) fn connect(address: &Address) -> TcpStream {
    let dialling = CLIENTS.dial(address, FOR_EVER).expect("somebody listens");
    TcpStream::from(OwnedFd::from(relay(dialling)))
}

/// Nothing that is lent stays with the system.
pub(crate) fn most_lent() -> usize {
    0
}

fn factory(options: ShmOptions) -> impl Fn(usize) -> io::Result<ShmDriver> {
    move |_| ShmDriver::new(options.clone())
}

/// A driver's memory is twice what its loop may use: what a driver itself keeps of it must not use up the loop's budget.
fn within(limits: &LoopOptions, options: ShmOptions) -> ShmOptions {
    ShmOptions { memory: limits.memory_limit.saturating_mul(2).max(256 << 10), ..options }
}

/// A server of the core.
#[derive(Debug)]
pub(crate) struct Server(net::Server);

impl Server {
    pub(crate) fn builder() -> ServerBuilder {
        ServerBuilder(net::Server::builder(), ShmOptions::default())
    }

    pub(crate) fn join(self) -> io::Result<()> {
        self.0.join()
    }
}

impl Deref for Server {
    type Target = net::Server;

    fn deref(&self) -> &net::Server {
        &self.0
    }
}

/// The core's, and what drivers are told.
#[derive(Clone, Debug)]
pub(crate) struct ServerBuilder(net::ServerBuilder, ShmOptions);

impl ServerBuilder {
    pub(crate) fn loops(self, loops: usize) -> Self {
        Self(self.0.loops(loops), self.1)
    }

    pub(crate) fn accept(self, accept: Accept) -> Self {
        Self(self.0.accept(accept), self.1)
    }

    pub(crate) fn spin(self, spin: Spin) -> Self {
        Self(self.0.spin(spin), self.1)
    }

    /// Of no meaning here.
    pub(crate) fn trigger(self, _trigger: Trigger) -> Self {
        self
    }

    pub(crate) fn options(self, options: LoopOptions) -> Self {
        Self(self.0.options(options), within(&options, self.1))
    }

    pub(crate) fn unread_marks(self, marks: Marks) -> Self {
        Self(self.0.unread_marks(marks), self.1)
    }

    pub(crate) fn also_at(self, address: &Address) -> Self {
        Self(self.0.also_at(address), self.1)
    }

    pub(crate) fn bind(self, address: &Address, make: impl MakeHandler) -> io::Result<Server> {
        self.0.bind_with(address, make, factory(self.1)).map(Server)
    }
}
