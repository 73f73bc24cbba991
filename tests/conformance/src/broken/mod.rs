//! Drivers with one fault each, to test the suite: a case that no fault fails proves nothing.

mod driver;
mod fault;

use std::any::Any;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use linkpoll::driver::Driver;
use linkpoll::driver::epoll::{Epoll, Socket, Trigger};
use linkpoll::net::Address;

pub use driver::Broken;
pub use fault::{FAULTS, Fault};

use crate::{EpollBed, SocketBed};

/// Epoll drivers with a fault.
#[derive(Clone, Copy, Debug)]
pub struct BrokenBed(pub Fault);

/// The sound drivers that faults are put into.
const SOUND: EpollBed = EpollBed { trigger: Trigger::Level, receive_budget: 256 << 10 };

impl SocketBed for BrokenBed {
    type Driver = Broken<Epoll>;

    fn driver(&self, memory: usize) -> Broken<Epoll> {
        Broken::new(SOUND.driver(memory), self.0)
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        SOUND.socket(fd, peer)
    }

    fn patience(&self) -> Duration {
        // A fault may well be that nothing happens any more.
        Duration::from_millis(250)
    }
}

/// Whether a case fails on a driver with this fault.
#[must_use]
pub fn is_caught(fault: Fault, run: fn(&BrokenBed)) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(&BrokenBed(fault)))).is_err_and(|panic| {
        drop::<Box<dyn Any + Send>>(panic);
        true
    })
}

impl<D: Driver> std::fmt::Debug for Broken<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broken").field("fault", &self.fault()).finish_non_exhaustive()
    }
}
