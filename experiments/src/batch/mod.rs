#![doc = include_str!("README.md")]
//!
//! # How the parts fit together
//!
//! Everything but the calls is the epoll driver: [`Batched`] is a [`Kernel`] that makes the calls for many
//! entries at once, by one of two [`Engine`]s:
//!
//! | engine | a batch is | results come |
//! |---|---|---|
//! | [`Uring`] | one io_uring_enter of receives and sends with `MSG_DONTWAIT`, on registered files | in the completion queue, when the call returns |
//! | [`Aio`] | one io_submit of reads and writes (Linux AIO) | in the mapped ring, when the call returns |
//!
//! Neither engine ever has anything under way when its call returns. An entry that would block answers so; a bad entry,
//! a reset, an end of stream or a short count are answers of that entry alone. An engine that breaks (the kernel
//! refuses a call that it took before) is given up, and everything goes on with single calls: [`Batched::broken`].

mod aio;
mod sys;
mod uring;

use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use linkpoll::driver::epoll::{Epoll, EpollOptions, Interest, Kernel, Linux, Ready, ReceiveEntry, SendEntry};
use linkpoll::driver::{Key, SystemCalls};
use linkpoll::net::Address;

pub use aio::Aio;
pub use uring::Uring;

/// The most connections of one batch, unless told otherwise. The first of a batch waits for the last.
pub const LARGEST_BATCH: usize = 64;

/// Pieces of one connection that go out with a batch; the rest goes by itself.
const MOST_PIECES: usize = 64;

/// Makes the calls of a batch.
pub trait Engine: Sized {
    /// An engine for at most `batch` entries at a time.
    ///
    /// # Errors
    /// When this kernel, or the filter that the process runs under, does not allow it.
    fn new(batch: usize) -> io::Result<Self>;

    /// Answers every entry, but for those that the engine leaves to single calls.
    ///
    /// # Errors
    /// When the engine is broken. Entries without an answer have not been executed.
    fn receive(&mut self, calls: &SystemCalls, entries: &mut [Entry<'_, '_>]) -> io::Result<()>;

    /// As [`receive`](Self::receive).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    fn send(&mut self, calls: &SystemCalls, entries: &mut [Outgoing<'_, '_>]) -> io::Result<()>;

    /// The descriptor leaves the driver: the engine must not keep it open.
    fn forget(&mut self, _calls: &SystemCalls, _fd: BorrowedFd<'_>) {}
}

/// An entry of a receiving batch, and whether it was answered.
#[derive(Debug)]
pub struct Entry<'a, 'b> {
    entry: &'a mut ReceiveEntry<'b>,
    answered: bool,
}

impl Entry<'_, '_> {
    fn answer(&mut self, result: io::Result<usize>) {
        self.answered = true;
        self.entry.answer(result);
    }
}

/// An entry of a sending batch, and whether it was answered.
#[derive(Debug)]
pub struct Outgoing<'a, 'b> {
    entry: &'a mut SendEntry<'b>,
    answered: bool,
}

impl Outgoing<'_, '_> {
    fn answer(&mut self, result: io::Result<usize>) {
        self.answered = true;
        self.entry.answer(result);
    }
}

/// Linux, with batches by an engine; see the module's documentation.
#[derive(Debug)]
pub struct Batched<E> {
    linux: Linux,
    engine: Option<E>,
    batch: usize,
    broken: Option<io::Error>,
}

/// An epoll driver that receives and sends in batches of at most `batch` connections, at least 2.
///
/// # Errors
/// As [`Epoll::new`], and when the engine cannot be had or fails its trial.
pub fn driver<E: Engine>(options: EpollOptions, batch: usize) -> io::Result<Epoll<Batched<E>>> {
    Epoll::with_kernel(Batched::new(batch)?, options)
}

impl<E: Engine> Batched<E> {
    /// A fresh epoll instance, and an engine that has proved itself on a pair of sockets.
    ///
    /// # Errors
    /// As epoll_create1(2), and when the engine cannot be had or fails its trial.
    pub fn new(batch: usize) -> io::Result<Self> {
        let batch = batch.max(2);
        let mut engine = E::new(batch)?;
        try_out(&mut engine)?;
        Ok(Self { linux: Linux::new()?, engine: Some(engine), batch, broken: None })
    }

    /// Why the engine was given up, if it was. From then on each connection is served by calls of its own.
    #[must_use]
    pub fn broken(&self) -> Option<&io::Error> {
        self.broken.as_ref()
    }

    fn give_up(&mut self, error: io::Error) {
        self.engine = None;
        self.broken = Some(error);
    }
}

/// A batch of two, one of which has nothing to receive: whether the engine does what it must under whatever filter the
/// process runs under.
fn try_out<E: Engine>(engine: &mut E) -> io::Result<()> {
    let (mut peer, full) = UnixStream::pair()?;
    let (_silent, empty) = UnixStream::pair()?;
    full.set_nonblocking(true)?;
    empty.set_nonblocking(true)?;
    peer.write_all(b"trial")?;
    let mut rooms = [[0; 8]; 2];
    let [first, second] = &mut rooms;
    let mut entries = [
        ReceiveEntry::new(Key::new(0, 0), full.as_fd(), first),
        ReceiveEntry::new(Key::new(1, 0), empty.as_fd(), second),
    ];
    let mut batch: Vec<_> = entries.iter_mut().map(|entry| Entry { entry, answered: false }).collect();
    let calls = SystemCalls::default();
    engine.receive(&calls, &mut batch)?;
    engine.forget(&calls, full.as_fd());
    engine.forget(&calls, empty.as_fd());
    let answered = batch.iter().all(|entry| entry.answered);
    let [full, empty] = entries.map(ReceiveEntry::into_result);
    let blocked = empty.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    match full {
        Ok(5) if answered && blocked && &rooms[0][..5] == b"trial" => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "a batch of two receives went wrong")),
    }
}

impl<E> AsFd for Batched<E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.linux.as_fd()
    }
}

impl<E: Engine> Kernel for Batched<E> {
    #[inline]
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize> {
        self.linux.wait(ready, timeout)
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

    fn drop_error(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        self.linux.drop_error(fd)
    }

    fn accept(&mut self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        self.linux.accept(fd)
    }

    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.linux.shutdown_send(fd)
    }

    fn forget(&mut self, calls: &SystemCalls, fd: BorrowedFd<'_>) {
        if let Some(engine) = &mut self.engine {
            engine.forget(calls, fd);
        }
    }

    #[inline]
    fn batch(&self) -> usize {
        self.batch
    }

    fn receive_all(&mut self, calls: &SystemCalls, entries: &mut [ReceiveEntry<'_>]) {
        let mut batch: Vec<_> = entries.iter_mut().map(|entry| Entry { entry, answered: false }).collect();
        if let Some(engine) = &mut self.engine
            && let Err(error) = engine.receive(calls, &mut batch)
        {
            self.give_up(error);
        }
        for entry in batch.iter_mut().filter(|entry| !entry.answered) {
            calls.receive.add(1);
            let result = self.linux.receive(entry.entry.fd(), entry.entry.room(), &mut []);
            entry.answer(result);
        }
    }

    fn send_all(&mut self, calls: &SystemCalls, entries: &mut [SendEntry<'_>]) {
        let mut batch: Vec<_> = entries.iter_mut().map(|entry| Outgoing { entry, answered: false }).collect();
        if let Some(engine) = &mut self.engine
            && let Err(error) = engine.send(calls, &mut batch)
        {
            self.give_up(error);
        }
        for entry in batch.iter_mut().filter(|entry| !entry.answered) {
            calls.send.add(1);
            let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
            let n = entry.entry.chain().io_slices(&mut pieces);
            let result = self.linux.send(entry.entry.fd(), &pieces[..n]);
            entry.answer(result);
        }
    }
}

/// What a call of the kernel answered, from a result that is negative for an error.
fn outcome(result: i64) -> io::Result<usize> {
    usize::try_from(result)
        .map_err(|_| io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO)))
}

/// Whether a result says that nothing was done and the call should be made again.
fn is_interrupted(result: i64) -> bool {
    result == -i64::from(libc::EINTR)
}
