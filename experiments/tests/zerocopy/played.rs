//! A kernel that is played: it takes what it has room for, lends when it wants, and gives back in orders that the real one
//! produces only now and then.
//!
//! What it has been lent it refers to as the real kernel does: by the pages, through a pipe (vmsplice(2)). A pipe shows
//! what is written into its pages, until they are exchanged.
//!
//! MODEL: one socket has no packets, and nothing is ever received but an end or a reset.
#![expect(unsafe_code, reason = "vmsplice takes memory by address")]

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Interest, Kernel, Readiness, Ready};
use linkpoll::net::Address;
use linkpoll_experiments::zerocopy::{Fetched, LendingKernel, Notification};

/// What a socket can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lends,
    /// The option is refused.
    Refuses,
    /// The option is taken, and the flag refused.
    RefusesTheFlag,
    /// Somebody has lent from it before.
    Foreign,
}

/// Bytes that the kernel reads from somebody else's pages.
#[derive(Debug)]
pub(crate) struct Lent {
    number: u32,
    /// Where they stand in the stream.
    pub(crate) at: Range<usize>,
    pages: File,
}

impl Lent {
    /// Whether the pages still show what was lent.
    pub(crate) fn shows(&mut self, stream: &[u8]) -> bool {
        let mut bytes = vec![0; self.at.len()];
        self.pages.read_exact(&mut bytes).expect("as many were put in");
        bytes == stream[self.at.clone()]
    }
}

/// A socket, as the kernel sees it.
#[derive(Debug)]
pub(crate) struct Line {
    fd: RawFd,
    /// The other end of the pair whose one end the driver has: it tells when that is closed.
    far: UnixStream,
    kind: Kind,
    watched: Option<(u64, Interest)>,
    /// Something has happened since it was reported.
    fresh: bool,
    pub(crate) room: usize,
    pub(crate) stream: Vec<u8>,
    pub(crate) lent: Vec<Lent>,
    queue: Vec<(Notification, bool)>,
    next: u32,
    pub(crate) refuse: usize,
    pub(crate) broken: bool,
    pub(crate) ended: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Played {
    own: UnixStream,
    pub(crate) lines: Vec<Line>,
    pub(crate) now: Instant,
    first: u32,
    /// Notifications of what was not lent that were fetched.
    pub(crate) strays: u64,
}

impl Played {
    pub(crate) fn new(first: u32) -> Self {
        let own = UnixStream::pair().expect("a pair of sockets").0;
        Self { own, lines: Vec::new(), now: Instant::now(), first, strays: 0 }
    }

    /// A socket for the driver.
    pub(crate) fn open(&mut self, kind: Kind) -> OwnedFd {
        let (far, near) = UnixStream::pair().expect("a pair of sockets");
        far.set_nonblocking(true).expect("an option of sockets");
        self.lines.push(Line {
            fd: near.as_raw_fd(),
            far,
            kind,
            watched: None,
            fresh: false,
            room: 0,
            stream: Vec::new(),
            lent: Vec::new(),
            queue: Vec::new(),
            next: self.first,
            refuse: 0,
            broken: false,
            ended: false,
        });
        near.into()
    }

    /// A descriptor's number may have been used before.
    fn line(&mut self, fd: BorrowedFd<'_>) -> Option<&mut Line> {
        self.lines.iter_mut().rev().find(|line| line.fd == fd.as_raw_fd())
    }
}

impl Line {
    /// Whether the driver has closed it.
    pub(crate) fn is_gone(&mut self) -> bool {
        matches!(self.far.read(&mut [0]), Ok(0))
    }

    /// Gives a run of what is lent back. Answers whether all of it was still as it was lent.
    pub(crate) fn give_back(&mut self, from: usize, width: usize, merge: bool, copied: bool) -> bool {
        if self.lent.is_empty() {
            return true;
        }
        let from = from % self.lent.len();
        let mut to = from + 1;
        while to < self.lent.len()
            && to - from < width.max(1)
            && self.lent[to].number == self.lent[to - 1].number.wrapping_add(1)
        {
            to += 1;
        }
        let mut sound = true;
        let mut notification =
            Notification { from: self.lent[from].number, to: self.lent[to - 1].number, copied };
        for mut lent in self.lent.drain(from..to) {
            sound &= lent.shows(&self.stream);
        }
        // KERNEL: only the last one is extended, and keeps its code.
        if merge && self.queue.last().is_some_and(|(last, _)| last.to.wrapping_add(1) == notification.from) {
            let (last, _) = self.queue.pop().expect("there is one");
            notification = Notification { from: last.from, copied: last.copied, ..notification };
        }
        self.tell(notification, false);
        sound
    }

    /// Tells of something that was not lent.
    pub(crate) fn stray(&mut self, distance: u16, width: i8) {
        let from = self.next.wrapping_add(100_000 + u32::from(distance));
        let to = from.wrapping_add_signed(i32::from(width));
        self.tell(Notification { from, to, copied: false }, true);
    }

    fn tell(&mut self, notification: Notification, stray: bool) {
        self.queue.push((notification, stray));
        self.fresh = true;
    }

    pub(crate) fn wakes(&mut self) {
        self.fresh = true;
    }

    fn readiness(&self, interest: Interest) -> Option<Readiness> {
        let flags = [
            (Readiness::SEND, interest.send && self.room > 0),
            (Readiness::RECEIVE.and(Readiness::END), interest.receive && self.ended),
            (Readiness::ERROR, !self.queue.is_empty()),
            (Readiness::ERROR.and(Readiness::HANGUP).and(Readiness::RECEIVE), self.broken),
        ];
        let on = flags.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag);
        on.reduce(Readiness::and).filter(|_| self.fresh || !interest.edge)
    }

    fn take(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<Range<usize>> {
        if self.broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if self.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let from = self.stream.len();
        for piece in pieces {
            let part = piece.len().min(self.room);
            self.stream.extend_from_slice(&piece[..part]);
            self.room -= part;
        }
        Ok(from..self.stream.len())
    }
}

/// Refers to the pages of the first `n` bytes.
fn refer(pieces: &[IoSlice<'_>], n: usize) -> File {
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    // SAFETY: no memory is passed.
    let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
    assert!(size >= 1 << 20, "a pipe of so many pages");
    let mut left = n;
    let parts: Vec<libc::iovec> = pieces
        .iter()
        .map(|piece| {
            let part = piece.len().min(left);
            left -= part;
            libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: part }
        })
        .collect();
    // SAFETY: the parts are live; the kernel reads from its own references to the pages afterwards.
    let put =
        unsafe { libc::vmsplice(writer.as_raw_fd(), parts.as_ptr(), parts.len(), libc::SPLICE_F_NONBLOCK) };
    assert_eq!(usize::try_from(put).ok(), Some(n), "a pipe takes as many pages");
    reader.into()
}

impl AsFd for Played {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

impl Kernel for Played {
    fn wait(&mut self, ready: &mut Vec<Ready>, _timeout: i32) -> io::Result<usize> {
        ready.clear();
        for line in &mut self.lines {
            if let Some((token, interest)) = line.watched
                && let Some(readiness) = line.readiness(interest)
            {
                line.fresh = false;
                ready.push(Ready::new(token, readiness));
            }
        }
        Ok(ready.len())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        if let Some(line) = self.line(fd) {
            assert!(line.watched.is_none(), "watched twice");
            (line.watched, line.fresh) = (Some((token, interest)), true);
        }
        Ok(())
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let line = self.line(fd).expect("a socket of the driver");
        if line.watched.is_none() {
            return Err(ErrorKind::NotFound.into());
        }
        (line.watched, line.fresh) = (Some((token, interest)), true);
        Ok(())
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.line(fd).expect("a socket of the driver").watched = None;
        Ok(())
    }

    fn receive(&mut self, fd: BorrowedFd<'_>, _: &mut [u8], _: &mut [u8]) -> io::Result<usize> {
        match self.line(fd).expect("a socket of the driver") {
            line if line.broken => Err(ErrorKind::ConnectionReset.into()),
            line if line.ended => Ok(0),
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn send(&mut self, fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let line = self.line(fd).expect("a socket of the driver");
        line.take(pieces).map(|taken| taken.len())
    }

    fn drop_error(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let queue = &mut self.line(fd).expect("a socket of the driver").queue;
        Ok(!queue.is_empty() && !queue.drain(..1).as_slice().is_empty())
    }

    fn accept(&mut self, _: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn shutdown_send(&mut self, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl LendingKernel for Played {
    fn is_lending(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        Ok(self.line(fd).expect("a socket of the driver").kind == Kind::Foreign)
    }

    fn set_lending(&mut self, fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
        assert!(on, "it is not switched off");
        match self.line(fd).expect("a socket of the driver").kind {
            Kind::Refuses => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            _ => Ok(()),
        }
    }

    fn first_number(&self) -> u32 {
        self.first
    }

    fn send_group(
        &mut self,
        fd: BorrowedFd<'_>,
        pieces: &[IoSlice<'_>],
        lend: bool,
        _more: bool,
    ) -> io::Result<usize> {
        let line = self.line(fd).expect("a socket of the driver");
        if !lend {
            return line.take(pieces).map(|taken| taken.len());
        }
        assert!(!matches!(line.kind, Kind::Refuses | Kind::Foreign), "this one is not lent from");
        if line.kind == Kind::RefusesTheFlag {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        if line.refuse > 0 {
            line.refuse -= 1;
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let at = line.take(pieces)?;
        let pages = refer(pieces, at.len());
        let (number, n) = (line.next, at.len());
        line.next = number.wrapping_add(1);
        line.lent.push(Lent { number, at, pages });
        Ok(n)
    }

    fn notifications(&mut self, fd: BorrowedFd<'_>, into: &mut Vec<Notification>) -> io::Result<Fetched> {
        const MOST: usize = 4;
        let line = self.line(fd).expect("a socket of the driver");
        if line.queue.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = line.queue.len().min(MOST);
        let fetched: Vec<_> = line.queue.drain(..n).collect();
        self.strays += fetched.iter().filter(|(_, stray)| *stray).count() as u64;
        into.extend(fetched.into_iter().map(|(notification, _)| notification));
        Ok(if n == MOST { Fetched::Some } else { Fetched::All })
    }

    fn shutdown_both(&mut self, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl Played {
    pub(crate) fn passes(&mut self, time: Duration) {
        self.now += time;
    }
}
