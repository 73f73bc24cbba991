//! What a suite runs on.

use std::os::fd::OwnedFd;
use std::time::Duration;

use linkpoll::driver::Driver;
use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket, Trigger};
use linkpoll::net::Address;

/// Makes drivers of one kind.
pub trait Bed {
    /// The kind.
    type Driver: Driver;

    /// A driver that has at most `memory` bytes for received and sent bytes.
    fn driver(&self, memory: usize) -> Self::Driver;

    /// A connected, non-blocking socket, for the driver to be attached to.
    fn socket(&self, fd: OwnedFd, peer: Address) -> <Self::Driver as Driver>::Socket;

    /// The time after which a driver that does nothing is given up.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// Epoll drivers.
#[derive(Clone, Copy, Debug)]
pub struct EpollBed {
    /// When the kernel reports a connection.
    pub trigger: Trigger,
    /// The most bytes received from one connection in one turn.
    pub receive_budget: usize,
}

impl Bed for EpollBed {
    type Driver = Epoll;

    fn driver(&self, memory: usize) -> Epoll {
        let options = EpollOptions { trigger: self.trigger, memory, receive_budget: self.receive_budget };
        Epoll::new(options).expect("an epoll instance can be had")
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        Socket { fd, peer: Box::new(peer) }
    }
}
