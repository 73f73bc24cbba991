//! Servers and loops as the core's tests set them up, on the transport that this process is about.
//!
//! The same methods as `linkpoll::net` has, as far as those tests use them; what is made is the core's.

use std::io;
use std::ops::Deref;

use linkpoll::conn::Marks;
use linkpoll::driver::epoll::Trigger;
use linkpoll::net::{self, Accept, Address};
use linkpoll::reactor::{LoopOptions, Spin};
use linkpoll::service::MakeHandler;
use linkpoll_experiments::{AnyDriver, DriverOptions, Transport};

#[path = "../../../tests/server/sockets.rs"]
mod sockets;

pub(crate) use sockets::{any_port, connect};

/// Names the transport of a process.
pub(crate) const TRANSPORT: &str = "LINKPOLL_TEST_TRANSPORT";

/// The transport of this process: epoll, unless it was told otherwise.
fn transport() -> Transport {
    let name = std::env::var(TRANSPORT).unwrap_or_else(|_| Transport::Epoll.name().to_owned());
    *Transport::ALL.iter().find(|transport| transport.name() == name).expect("a transport of this build")
}

/// Bytes of memory of a server's that the system may keep for a peer that does not read, beyond what the server owes: for
/// drivers that lend, what fits into a socket, since nothing is given back before it is acknowledged.
pub(crate) fn most_lent() -> usize {
    let lends =
        transport().driver(&DriverOptions::default()).expect("the transport works here").lent().is_some();
    let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").expect("a setting of the system");
    let most = limits.split_whitespace().last().and_then(|most| most.parse().ok());
    if lends { most.expect("a number of bytes") } else { 0 }
}

/// A driver's memory is twice what its loop may use, as the core's builders set it up for epoll: what a driver itself
/// keeps of it must not use up the loop's budget.
fn within(limits: &LoopOptions, options: DriverOptions) -> DriverOptions {
    DriverOptions { memory: limits.memory_limit.saturating_mul(2).max(256 << 10), ..options }
}

fn factory(options: DriverOptions) -> impl Fn(usize) -> io::Result<AnyDriver> {
    let transport = transport();
    move |_| transport.driver(&options)
}

/// A server of the core.
#[derive(Debug)]
pub(crate) struct Server(net::Server);

impl Server {
    pub(crate) fn builder() -> ServerBuilder {
        ServerBuilder(net::Server::builder(), DriverOptions::default())
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
pub(crate) struct ServerBuilder(net::ServerBuilder, DriverOptions);

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

    pub(crate) fn trigger(self, trigger: Trigger) -> Self {
        Self(self.0, DriverOptions { trigger, ..self.1 })
    }

    pub(crate) fn options(self, options: LoopOptions) -> Self {
        Self(self.0.options(options), within(&options, self.1))
    }

    pub(crate) fn unread_marks(self, marks: Marks) -> Self {
        Self(self.0.unread_marks(marks), self.1)
    }

    pub(crate) fn bind(self, address: &Address, make: impl MakeHandler) -> io::Result<Server> {
        self.0.bind_with(address, make, factory(self.1)).map(Server)
    }
}

/// Loops of the core.
#[derive(Debug)]
pub(crate) struct Loops(net::Loops);

impl Loops {
    pub(crate) fn builder() -> LoopsBuilder {
        LoopsBuilder(net::Loops::builder(), DriverOptions::default())
    }

    pub(crate) fn join(self) -> io::Result<()> {
        self.0.join()
    }
}

impl Deref for Loops {
    type Target = net::Loops;

    fn deref(&self) -> &net::Loops {
        &self.0
    }
}

/// The core's, and what drivers are told.
#[derive(Debug)]
pub(crate) struct LoopsBuilder(net::LoopsBuilder, DriverOptions);

impl LoopsBuilder {
    pub(crate) fn loops(self, loops: usize) -> Self {
        Self(self.0.loops(loops), self.1)
    }

    pub(crate) fn trigger(self, trigger: Trigger) -> Self {
        Self(self.0, DriverOptions { trigger, ..self.1 })
    }

    pub(crate) fn options(self, options: LoopOptions) -> Self {
        Self(self.0.options(options), within(&options, self.1))
    }

    pub(crate) fn start(self) -> io::Result<Loops> {
        self.0.start_with(factory(self.1)).map(Loops)
    }
}
