//! A ring that a test plays.
//!
//! MODEL: sockets are counters: bytes that have arrived, room for bytes that are sent. What the kernel decides by itself
//! (when an operation ends early, how a cancellation goes out, when a notification comes) is decided by the script.
#![expect(unsafe_code, reason = "the ring writes into buffers and reads from sends, as the kernel does")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkpoll::buffer::Chain;

use super::super::ring::{Completion, Operation, Ring, Sleep};
use super::super::tag::Tag;

/// What a socket is.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Bytes that have arrived so far, and those that the ring has taken.
    pub(super) arrived: u64,
    pub(super) taken: u64,
    pub(super) ended: bool,
    pub(super) reset: bool,
    /// The end was taken.
    pub(super) end_taken: bool,
    /// Bytes that can be sent now.
    pub(super) room: usize,
    /// What was sent.
    pub(super) sent: Vec<u8>,
}

impl Stream {
    /// Moves bytes that have arrived to memory that the driver has given away for that.
    fn take(&mut self, start: NonNull<u8>, len: usize) -> usize {
        let n = usize::try_from(self.arrived - self.taken).unwrap_or(len).min(len);
        for at in 0..n {
            // SAFETY: the driver has provided `len` bytes from `start` on.
            let target = unsafe { start.add(at) };
            // SAFETY: as above; nobody else touches them.
            unsafe { target.write(byte_at(self.taken + at as u64)) };
        }
        self.taken += n as u64;
        n
    }
}

/// The byte at a position of what arrives, and of what is sent.
pub(super) fn byte_at(position: u64) -> u8 {
    (position % 251).to_le_bytes()[0]
}

/// How the next cancellations go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obedience {
    /// The operation ends at once.
    AtOnce,
    /// The operation is not found.
    NotFound,
    /// The operation does once more what it can, and ends then.
    OnceMore,
    /// The operation is being worked on, and ends when the ring is entered next.
    Later,
    /// The operation goes on as if nothing had been said, until the ring is told to let go.
    Never,
}

/// Memory that a send names.
type Pieces = Vec<(NonNull<u8>, usize)>;

#[derive(Debug)]
enum Kind {
    Receive(RawFd),
    ReceiveOnce(RawFd),
    Fill(RawFd, NonNull<u8>, usize),
    Send(RawFd, Pieces, bool),
    Other,
    Cancel(Tag),
    CancelAll,
}

#[derive(Debug)]
struct Job {
    tag: Tag,
    kind: Kind,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Played {
    fd: OwnedFd,
    queued: Vec<Job>,
    room: usize,
    under_way: Vec<Job>,
    dying: Vec<Tag>,
    deaf: Vec<Tag>,
    done: VecDeque<Completion>,
    /// Notifications that are due, with the memory that was lent.
    pub(super) lent: VecDeque<(Tag, Pieces)>,
    pub(super) buffers: VecDeque<(u16, NonNull<u8>, usize)>,
    pub(super) streams: BTreeMap<RawFd, Stream>,
    /// Memory of sends, each with a flag that says that it was not given back. It stays in place, so no other has its
    /// address.
    pub(super) memory: Vec<(Arc<Vec<u8>>, Arc<AtomicBool>)>,
    pub(super) obedience: Obedience,
    /// Receives end after their next bytes, without a reason.
    pub(super) ends_early: bool,
    /// So many completions fit; the others come with the next `enter`.
    pub(super) completions: usize,
    /// For how long the driver would have slept, where it has set a limit.
    pub(super) slept: Duration,
    /// What the driver has done wrong.
    pub(super) faults: Vec<String>,
}

impl Played {
    pub(super) fn new() -> Self {
        let (fd, _) = UnixStream::pair().expect("a descriptor");
        Self {
            fd: OwnedFd::from(fd),
            queued: Vec::new(),
            room: 4,
            under_way: Vec::new(),
            dying: Vec::new(),
            deaf: Vec::new(),
            done: VecDeque::new(),
            lent: VecDeque::new(),
            buffers: VecDeque::new(),
            streams: BTreeMap::new(),
            memory: Vec::new(),
            obedience: Obedience::AtOnce,
            ends_early: false,
            completions: 8,
            slept: Duration::ZERO,
            faults: Vec::new(),
        }
    }

    /// A socket comes into being. Its number must not be one that operations are under way for.
    pub(super) fn open(&mut self, fd: RawFd, room: usize) {
        let uses = |job: &Job| matches!(job.kind, Kind::Receive(of) | Kind::ReceiveOnce(of) | Kind::Fill(of, ..) | Kind::Send(of, ..) if of == fd);
        if self.under_way.iter().chain(&self.queued).any(uses) {
            self.faults.push(format!("descriptor {fd} was closed while an operation was under way"));
        }
        self.streams.insert(fd, Stream { room, ..Stream::default() });
    }

    /// Operations that have not obeyed end with the next `enter`.
    pub(super) fn let_go(&mut self) {
        self.dying.append(&mut self.deaf);
    }

    /// The oldest notification comes.
    pub(super) fn notify(&mut self, copied: bool) {
        if let Some((tag, pieces)) = self.lent.pop_front() {
            self.look_at(&pieces);
            self.done.push_back(Completion::notification(tag, copied));
        }
    }

    /// Whether nothing is under way but the bell.
    pub(super) fn rests(&self) -> bool {
        self.under_way.iter().all(|job| matches!(job.kind, Kind::Other)) && self.lent.is_empty()
    }

    /// Reads memory, which must still be there.
    fn look_at(&mut self, pieces: &[(NonNull<u8>, usize)]) {
        for (start, len) in pieces {
            let (at, end) = (start.as_ptr().addr(), start.as_ptr().addr() + len);
            let dead = self.memory.iter().any(|(bytes, alive)| {
                let from = bytes.as_ptr().addr();
                // ORDERING: Relaxed, no partner: one thread.
                from <= at && end <= from + bytes.len() && !alive.load(Ordering::Relaxed)
            });
            if dead {
                self.faults.push("memory was given back while the ring could read it".to_owned());
            }
        }
    }

    fn submit(&mut self) {
        for job in std::mem::take(&mut self.queued) {
            match job.kind {
                Kind::Cancel(target) => self.cancel(target, job.tag),
                Kind::CancelAll => {
                    for job in std::mem::take(&mut self.under_way) {
                        self.done.push_back(Completion::new(job.tag, -libc::ECANCELED, None, false));
                    }
                }
                _ => self.under_way.push(job),
            }
        }
    }

    fn cancel(&mut self, target: Tag, own: Tag) {
        let Some(index) = self.under_way.iter().position(|job| job.tag == target) else {
            return self.done.push_back(Completion::new(own, -libc::ENOENT, None, false));
        };
        match self.obedience {
            Obedience::AtOnce => {
                let job = self.under_way.remove(index);
                self.end(job);
            }
            Obedience::NotFound => self.done.push_back(Completion::new(own, -libc::ENOENT, None, false)),
            Obedience::OnceMore => {
                let job = self.under_way.remove(index);
                if let Some(job) = self.work(job) {
                    self.end(job);
                }
            }
            Obedience::Later => {
                self.done.push_back(Completion::new(own, -libc::EALREADY, None, false));
                self.dying.push(target);
            }
            Obedience::Never => self.deaf.push(target),
        }
    }

    /// Ends a cancelled operation. A send that lends has a notification, too.
    fn end(&mut self, job: Job) {
        let lends = matches!(job.kind, Kind::Send(_, _, true));
        self.done.push_back(Completion::new(job.tag, -libc::ECANCELED, None, lends));
        if let Kind::Send(_, pieces, true) = job.kind {
            self.lent.push_back((job.tag, pieces));
        }
    }

    /// Does what an operation can do now; gives it back unless it has ended.
    fn work(&mut self, job: Job) -> Option<Job> {
        match &job.kind {
            Kind::Receive(fd) | Kind::ReceiveOnce(fd) => {
                let fd = *fd;
                self.receive(fd, job)
            }
            Kind::Fill(fd, start, len) => {
                let (fd, start, len) = (*fd, *start, *len);
                self.fill(fd, start, len, job)
            }
            Kind::Send(fd, pieces, lends) => {
                let (fd, lends) = (*fd, *lends);
                let all: usize = pieces.iter().map(|(_, len)| len).sum();
                let pieces = pieces.clone();
                let stream = self.streams.get_mut(&fd)?;
                if stream.reset {
                    self.result(job.tag, -libc::EPIPE, pieces, lends);
                    return None;
                }
                let len = all.min(stream.room);
                if len == 0 {
                    return Some(job);
                }
                stream.room -= len;
                self.look_at(&pieces);
                let mut left = len;
                for (start, size) in &pieces {
                    let part = left.min(*size);
                    // SAFETY: the driver has promised that the bytes stay, which `look_at` has verified.
                    let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), part) };
                    if let Some(stream) = self.streams.get_mut(&fd) {
                        stream.sent.extend_from_slice(bytes);
                    }
                    left -= part;
                }
                self.result(job.tag, i32::try_from(len).unwrap_or(i32::MAX), pieces, lends);
                None
            }
            _ => Some(job),
        }
    }

    fn result(&mut self, tag: Tag, result: i32, pieces: Pieces, lends: bool) {
        self.done.push_back(Completion::new(tag, result, None, lends));
        if lends {
            self.lent.push_back((tag, pieces));
        }
    }

    fn fill(&mut self, fd: RawFd, start: NonNull<u8>, len: usize, job: Job) -> Option<Job> {
        let stream = self.streams.get_mut(&fd)?;
        let waiting = stream.arrived - stream.taken;
        let result = match waiting {
            0 if stream.reset => -libc::ECONNRESET,
            0 if stream.ended => {
                stream.end_taken = true;
                0
            }
            0 => return Some(job),
            _ => {
                let n = stream.take(start, len);
                i32::try_from(n).unwrap_or(i32::MAX)
            }
        };
        self.done.push_back(Completion::new(job.tag, result, None, false));
        None
    }

    fn receive(&mut self, fd: RawFd, job: Job) -> Option<Job> {
        loop {
            let stream = self.streams.get_mut(&fd)?;
            let waiting = stream.arrived - stream.taken;
            if waiting == 0 {
                if stream.reset {
                    self.done.push_back(Completion::new(job.tag, -libc::ECONNRESET, None, false));
                    return None;
                }
                if stream.ended {
                    stream.end_taken = true;
                    // Sometimes a buffer is picked before the end is seen.
                    let buffer = if stream.taken % 2 == 0 { self.buffers.pop_front() } else { None };
                    let buffer = buffer.map(|(number, ..)| number);
                    self.done.push_back(Completion::new(job.tag, 0, buffer, false));
                    return None;
                }
                return Some(job);
            }
            let Some((number, start, len)) = self.buffers.pop_front() else {
                self.done.push_back(Completion::new(job.tag, -libc::ENOBUFS, None, false));
                return None;
            };
            let n = stream.take(start, len);
            let more = !self.ends_early && !matches!(job.kind, Kind::ReceiveOnce(_));
            let result = i32::try_from(n).unwrap_or(i32::MAX);
            self.done.push_back(Completion::new(job.tag, result, Some(number), more));
            if !more {
                return None;
            }
        }
    }
}

// SAFETY: an operation that has ended is forgotten, with its memory (a loan's when it was notified), and a buffer when it
// is named; it writes as many bytes as it says, and accepts nothing.
unsafe impl Ring for Played {
    fn places(&self) -> u16 {
        1 << 15
    }

    fn has_room(&self, _pieces: usize) -> bool {
        self.queued.len() < self.room
    }

    unsafe fn queue(&mut self, operation: Operation<'_>, tag: Tag) {
        assert!(self.queued.len() < self.room, "queued without room");
        let pieces = |chain: &Chain| {
            chain.segments().map(|segment| (NonNull::from(&segment[..]).cast(), segment.len())).collect()
        };
        let kind = match operation {
            Operation::Receive(fd) => Kind::Receive(fd.as_raw_fd()),
            Operation::ReceiveOnce(fd) => Kind::ReceiveOnce(fd.as_raw_fd()),
            Operation::Fill(fd, start, len) => Kind::Fill(fd.as_raw_fd(), start, len),
            Operation::Send(fd, chain) => Kind::Send(fd.as_raw_fd(), pieces(chain), false),
            Operation::Lend(fd, chain) => Kind::Send(fd.as_raw_fd(), pieces(chain), true),
            Operation::Cancel(target) => Kind::Cancel(target),
            Operation::CancelAll => Kind::CancelAll,
            Operation::Accept(_) | Operation::Room(_) | Operation::HangUp(_) | Operation::Bell(_) => {
                Kind::Other
            }
        };
        let same = |job: &&Job| job.tag == tag && !matches!(job.kind, Kind::Cancel(_) | Kind::CancelAll);
        let is_operation = !matches!(kind, Kind::Cancel(_) | Kind::CancelAll);
        if is_operation && self.under_way.iter().chain(&self.queued).any(|job| same(&job)) {
            self.faults.push(format!("two operations under way with {tag:?}"));
        }
        if let Kind::Fill(_, start, len) = kind {
            let meets = |job: &Job| {
                let Kind::Fill(_, other, others) = job.kind else { return false };
                let (a, b) = (start.as_ptr().addr(), other.as_ptr().addr());
                a < b + others && b < a + len
            };
            if self.under_way.iter().chain(&self.queued).any(meets) {
                self.faults.push("memory was given away while the ring could write to it".to_owned());
            }
        }
        self.queued.push(Job { tag, kind });
    }

    fn enter(&mut self, sleep: Sleep) -> io::Result<()> {
        self.submit();
        match sleep {
            Sleep::Submit => return Ok(()),
            Sleep::For(time) => self.slept += time,
            _ => {}
        }
        for tag in std::mem::take(&mut self.dying) {
            if let Some(index) = self.under_way.iter().position(|job| job.tag == tag) {
                let job = self.under_way.remove(index);
                self.end(job);
            }
        }
        for job in std::mem::take(&mut self.under_way) {
            if let Some(job) = self.work(job) {
                self.under_way.push(job);
            }
        }
        Ok(())
    }

    fn arm(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn reap(&mut self, into: &mut Vec<Completion>) -> bool {
        let fit = self.done.len().min(self.completions);
        into.extend(self.done.drain(..fit));
        !self.done.is_empty()
    }

    unsafe fn provide(&mut self, number: u16, bytes: NonNull<u8>, len: usize) {
        if self.buffers.iter().any(|(there, ..)| *there == number) {
            self.faults.push(format!("buffer {number} was provided twice"));
        }
        self.buffers.push_back((number, bytes, len));
    }
}

impl AsFd for Played {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
