//! The kernel itself, but for its clock.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Interest, Kernel, Linux, Ready};
use linkpoll::net::Address;
use linkpoll::sync::{Arc, Counter};

/// The token that the driver watches its bell with.
const BELL: u64 = u64::MAX;

/// What a test sees of a [`Clocked`] kernel.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// Microseconds that have passed.
    passed: Arc<Counter>,
    /// The timeout of the last wait, in milliseconds and one more, so that 0 stands for none.
    asked: Arc<Counter>,
    /// Reports of the loop's bell.
    rings: Arc<Counter>,
    /// Reports of anything else.
    reports: Arc<Counter>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            passed: Arc::default(),
            asked: Arc::default(),
            rings: Arc::default(),
            reports: Arc::default(),
        }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.passed.add(u64::try_from(time.as_micros()).expect("a short time"));
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.passed.get())
    }

    /// How often the kernel has reported a connection.
    pub(crate) fn reports(&self) -> u64 {
        self.reports.get()
    }

    /// How often a sleep would have been ended by another thread.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.get()
    }

    /// How long the loop wanted to sleep last; `None` for as long as nothing happens.
    pub(crate) fn sleep(&self) -> Option<Duration> {
        self.asked.get().checked_sub(1).map(Duration::from_millis)
    }
}

/// Never sleeps, and reads the clock of the test.
#[derive(Debug)]
pub(crate) struct Clocked {
    linux: Linux,
    clock: Clock,
}

impl Clocked {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { linux: Linux::new().expect("an epoll instance"), clock }
    }
}

impl AsFd for Clocked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.linux.as_fd()
    }
}

impl Kernel for Clocked {
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize> {
        self.clock.asked.set(u64::try_from(timeout + 1).expect("no less than -1"));
        let used = self.linux.wait(ready, 0)?;
        let rings = ready.iter().filter(|ready| ready.token() == BELL).count();
        self.clock.rings.add(rings as u64);
        self.clock.reports.add((ready.len() - rings) as u64);
        Ok(used)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.linux.watch(fd, token, interest)
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.linux.rewatch(fd, token, interest)
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.linux.unwatch(fd)
    }

    fn receive(&mut self, fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
        self.linux.receive(fd, first, second)
    }

    fn send(&mut self, fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.linux.send(fd, pieces)
    }

    fn accept(&mut self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        self.linux.accept(fd)
    }

    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.linux.shutdown_send(fd)
    }
}
