//! One driver out of all of them, chosen at run time.
//!
//! [`Transport`] names the ways of moving bytes that this build knows, [`choose`] finds out which of them this system
//! allows and says why the others are not taken, and [`AnyDriver`] is the one that was chosen. Nothing falls back in
//! silence: who asks for one transport gets it or an error, who gives a list gets a [`Choice`], which can be shown.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use linkpoll::buffer::{AllocError, BlockPool, Chain, Spent, Tail};
use linkpoll::driver::epoll::{Epoll, EpollOptions, Linux, Socket, Trigger};
use linkpoll::driver::{Caps, Detached, Driver, Event, Key, SystemCalls, Token};
use linkpoll::net::Address;
use linkpoll::sync::{Arc, Bell};

use crate::LentMemory;
#[cfg(feature = "batch")]
use crate::batch::{self, Batched};
#[cfg(feature = "uring")]
use crate::uring::{Uring, UringOptions};
#[cfg(feature = "zerocopy")]
use crate::zerocopy::{self, ZerocopyEpoll, ZerocopyOptions};

/// A way of moving bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// Readiness through epoll.
    Epoll,
    /// Epoll, with batches of calls by io_uring.
    #[cfg(feature = "batch")]
    BatchUring,
    /// Epoll, with batches of calls by Linux AIO.
    #[cfg(feature = "batch")]
    BatchAio,
    /// Completions of io_uring.
    #[cfg(feature = "uring")]
    Uring,
    /// Epoll, with large sends by reference.
    #[cfg(feature = "zerocopy")]
    Zerocopy,
}

/// What all drivers have in common.
#[derive(Clone, Copy, Debug)]
pub struct DriverOptions {
    /// The most bytes of pooled memory of a driver, at least 256 KiB. Default: 1 GiB.
    pub memory: usize,
    /// When epoll reports a connection, for drivers that use it. Default: level.
    pub trigger: Trigger,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self { memory: EpollOptions::default().memory, trigger: Trigger::Level }
    }
}

impl Transport {
    /// All that this build knows.
    pub const ALL: &[Self] = &[
        Self::Epoll,
        #[cfg(feature = "batch")]
        Self::BatchUring,
        #[cfg(feature = "batch")]
        Self::BatchAio,
        #[cfg(feature = "uring")]
        Self::Uring,
        #[cfg(feature = "zerocopy")]
        Self::Zerocopy,
    ];

    /// Its name, as in `lab serve --transport`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            #[cfg(feature = "batch")]
            Self::BatchUring => "batch-uring",
            #[cfg(feature = "batch")]
            Self::BatchAio => "batch-aio",
            #[cfg(feature = "uring")]
            Self::Uring => "uring",
            #[cfg(feature = "zerocopy")]
            Self::Zerocopy => "zerocopy",
        }
    }

    /// A driver of this kind, for the calling thread.
    ///
    /// # Errors
    /// When the system does not allow it; see each driver.
    pub fn driver(self, options: &DriverOptions) -> io::Result<AnyDriver> {
        let DriverOptions { memory, trigger } = *options;
        let epoll = EpollOptions { trigger, memory, ..Default::default() };
        Ok(match self {
            Self::Epoll => AnyDriver::Epoll(Epoll::new(epoll)?),
            #[cfg(feature = "batch")]
            Self::BatchUring => AnyDriver::BatchUring(batch::driver(epoll, batch::LARGEST_BATCH)?),
            #[cfg(feature = "batch")]
            Self::BatchAio => AnyDriver::BatchAio(batch::driver(epoll, batch::LARGEST_BATCH)?),
            #[cfg(feature = "uring")]
            Self::Uring => AnyDriver::Uring(Uring::new(UringOptions { memory, ..Default::default() })?),
            #[cfg(feature = "zerocopy")]
            Self::Zerocopy => AnyDriver::Zerocopy(zerocopy::driver(epoll, ZerocopyOptions::default())?),
        })
    }

    /// Finds out whether it works here, by making a driver and having it look once.
    ///
    /// # Errors
    /// Why it does not: too old a kernel, a setting, a filter of system calls.
    pub fn probe(self) -> io::Result<()> {
        let options = DriverOptions { memory: 1 << 20, ..Default::default() };
        self.driver(&options)?.wait(Some(Duration::ZERO))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was chosen, and what was not.
#[derive(Debug)]
pub struct Choice {
    /// The first of the wanted transports that works here.
    pub transport: Transport,
    /// Those wanted more, each with the reason why it does not.
    pub refused: Vec<(Transport, io::Error)>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transport: {}", self.transport)?;
        self.refused.iter().try_for_each(|(transport, why)| write!(f, "; not {transport}: {why}"))
    }
}

/// Chooses the first of these transports that works here. To be shown to whoever runs the program: a server that has
/// fallen back should say so.
///
/// # Errors
/// The last one's, when none works; `InvalidInput` for an empty list.
pub fn choose(wanted: &[Transport]) -> io::Result<Choice> {
    choose_by(wanted, Transport::probe)
}

fn choose_by(wanted: &[Transport], probe: impl Fn(Transport) -> io::Result<()>) -> io::Result<Choice> {
    let mut refused = Vec::new();
    for transport in wanted {
        match probe(*transport) {
            Ok(()) => return Ok(Choice { transport: *transport, refused }),
            Err(why) => refused.push((*transport, why)),
        }
    }
    Err(refused.pop().map_or_else(
        || io::Error::new(io::ErrorKind::InvalidInput, "no transport to choose from"),
        |(transport, why)| io::Error::new(why.kind(), format!("{transport}: {why}")),
    ))
}

/// Any of the drivers. All of them have the same sockets, so connections may go from one to another.
#[derive(Debug)]
#[non_exhaustive]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each loop, and it stays where it is; it depends on the features which is large"
)]
pub enum AnyDriver {
    /// Readiness through epoll.
    Epoll(Epoll),
    /// Epoll, with batches of calls by io_uring.
    #[cfg(feature = "batch")]
    BatchUring(Epoll<Batched<batch::Uring>>),
    /// Epoll, with batches of calls by Linux AIO.
    #[cfg(feature = "batch")]
    BatchAio(Epoll<Batched<batch::Aio>>),
    /// Completions of io_uring.
    #[cfg(feature = "uring")]
    Uring(Uring),
    /// Epoll, with large sends by reference.
    #[cfg(feature = "zerocopy")]
    Zerocopy(ZerocopyEpoll),
}

/// Calls the driver that it is.
macro_rules! each {
    ($self:expr, $driver:ident => $call:expr) => {
        match $self {
            AnyDriver::Epoll($driver) => $call,
            #[cfg(feature = "batch")]
            AnyDriver::BatchUring($driver) => $call,
            #[cfg(feature = "batch")]
            AnyDriver::BatchAio($driver) => $call,
            #[cfg(feature = "uring")]
            AnyDriver::Uring($driver) => $call,
            #[cfg(feature = "zerocopy")]
            AnyDriver::Zerocopy($driver) => $call,
        }
    };
}

impl AnyDriver {
    /// What it counts of memory that it lends; `None` for one that never does.
    pub fn lent(&mut self) -> Option<Arc<LentMemory>> {
        match self {
            #[cfg(feature = "uring")]
            Self::Uring(driver) => Some(driver.lent()),
            #[cfg(feature = "zerocopy")]
            Self::Zerocopy(driver) => Some(Arc::clone(&driver.path().stats().memory)),
            _ => None,
        }
    }
}

impl Driver for AnyDriver {
    type Socket = Socket;

    fn caps(&self) -> Caps {
        each!(self, driver => driver.caps())
    }

    fn pool(&self) -> &BlockPool {
        each!(self, driver => driver.pool())
    }

    fn bell(&self) -> Box<dyn Bell> {
        each!(self, driver => driver.bell())
    }

    fn system_calls(&self) -> Arc<SystemCalls> {
        each!(self, driver => driver.system_calls())
    }

    fn peer(socket: &Socket) -> Address {
        Epoll::<Linux>::peer(socket)
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        each!(self, driver => driver.listen(key, address, share))
    }

    fn from_fd(fd: OwnedFd, peer: Address) -> Option<Socket> {
        Epoll::<Linux>::from_fd(fd, peer)
    }

    fn into_fd(socket: Socket) -> Option<OwnedFd> {
        Epoll::<Linux>::into_fd(socket)
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        each!(self, driver => driver.connect(key, address, local))
    }

    fn attach(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        each!(self, driver => driver.attach(key, socket))
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Socket>> {
        each!(self, driver => driver.detach(key))
    }

    fn receive(&mut self, key: Key, on: bool) {
        each!(self, driver => driver.receive(key, on));
    }

    fn want(&mut self, key: Key, bytes: usize) {
        each!(self, driver => driver.want(key, bytes));
    }

    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        each!(self, driver => driver.alloc_send(key, bytes))
    }

    #[inline]
    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        each!(self, driver => driver.send(key, chain, released))
    }

    #[inline]
    fn send_bytes(&mut self, key: Key, bytes: &[u8]) -> usize {
        each!(self, driver => driver.send_bytes(key, bytes))
    }

    #[inline]
    fn reuse(&mut self, key: Key, spent: Spent) {
        each!(self, driver => driver.reuse(key, spent));
    }

    fn shutdown(&mut self, key: Key) {
        each!(self, driver => driver.shutdown(key));
    }

    fn close(&mut self, key: Key) {
        each!(self, driver => driver.close(key));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        each!(self, driver => driver.wait(timeout))
    }

    fn arm(&mut self) -> Option<Duration> {
        each!(self, driver => driver.arm())
    }

    fn now(&self) -> Instant {
        each!(self, driver => driver.now())
    }

    #[inline]
    fn next(&mut self) -> Option<Event<Socket>> {
        each!(self, driver => driver.next())
    }
}

impl AsFd for AnyDriver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, driver => driver.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_works_is_chosen_and_the_others_are_reported() {
        let refuse = |which: Transport| {
            move |transport| match transport == which {
                true => Err(io::Error::from_raw_os_error(libc::EPERM)),
                false => Ok(()),
            }
        };
        let all = Transport::ALL;
        let first = choose_by(all, refuse(all[all.len() - 1]));
        if all.len() > 1 {
            assert!(first.is_ok_and(|choice| choice.transport == all[0] && choice.refused.is_empty()));
            let fallen = choose_by(all, refuse(all[0])).unwrap();
            assert_eq!(fallen.transport, all[1]);
            let shown = fallen.to_string();
            assert!(shown.contains("not epoll: Operation not permitted"), "{shown}");
        }
        let none = choose_by(&all[..1], refuse(all[0])).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::PermissionDenied);
        assert!(none.to_string().starts_with("epoll: "), "{none}");
        assert_eq!(choose(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn epoll_always_works() {
        assert!(choose(&[Transport::Epoll]).is_ok());
    }
}
