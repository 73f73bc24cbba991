//! Batches by io_uring.
//!
//! The ring is used as a list of system calls and nothing else: each entry carries `MSG_DONTWAIT`, so it is executed
//! while io_uring_enter submits it, and its result is in the completion queue when that returns.
//!
//! KERNEL: without `MSG_DONTWAIT` a receive on an empty socket stays pending, whatever `O_NONBLOCK` says, and the
//! buffer would belong to the kernel when the call returns.
//!
//! A connection's file is registered along with its first batch, by an entry of that batch (`IORING_OP_FILES_UPDATE`),
//! and is used registered from the next one on. A registered file is open until it is unregistered, so that happens
//! when the driver lets go of it.

#![expect(unsafe_code, reason = "entries refer to memory by address")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};
use linkpoll::driver::SystemCalls;

use super::{Engine, Entry, MOST_PIECES, Outgoing, is_interrupted, outcome};

/// The most registered files. Descriptors of higher numbers are used as they are.
const MOST_FILES: usize = 16 << 10;
/// A call that fails so often in a row, for want of memory, will go on failing.
const MOST_FAILURES: usize = 1000;
/// The completion of an entry that registers a file carries this and the file's number.
const REGISTERS: u64 = 1 << 32;

/// Batches by io_uring; see the module's documentation.
pub struct Uring {
    ring: IoUring,
    /// By descriptor: whether its file is registered under its own number.
    registered: Vec<bool>,
    /// The descriptors of a batch that are to be registered along with it.
    joining: Vec<RawFd>,
    messages: Vec<libc::msghdr>,
    pieces: Vec<libc::iovec>,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("files", &self.registered.len()).finish_non_exhaustive()
    }
}

impl Engine for Uring {
    fn new(batch: usize) -> io::Result<Self> {
        // Each entry may bring another one that registers its file.
        let entries = u32::try_from(2 * batch).unwrap_or(u32::MAX);
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .build(entries)?;
        let files = rlimit_files().min(MOST_FILES);
        // Without registered files everything works, and each entry looks its descriptor up.
        let files = match ring.submitter().register_files_sparse(u32::try_from(files).unwrap_or(0)) {
            Ok(()) => files,
            Err(_) => 0,
        };
        Ok(Self {
            ring,
            registered: vec![false; files],
            joining: Vec::new(),
            messages: Vec::new(),
            pieces: Vec::new(),
        })
    }

    fn receive(&mut self, calls: &SystemCalls, entries: &mut [Entry<'_, '_>]) -> io::Result<()> {
        self.note_joining(entries.iter().map(|entry| entry.entry.fd()));
        for (at, entry) in entries.iter_mut().enumerate() {
            let fd = entry.entry.fd().as_raw_fd();
            let room = entry.entry.room();
            let (start, len) = (room.as_mut_ptr(), u32::try_from(room.len()).unwrap_or(u32::MAX));
            let built = if self.is_registered(fd) {
                opcode::Recv::new(Fixed(fd.cast_unsigned()), start, len).flags(libc::MSG_DONTWAIT).build()
            } else {
                opcode::Recv::new(Fd(fd), start, len).flags(libc::MSG_DONTWAIT).build()
            };
            // SAFETY: the room is borrowed by `entries`, and `run` comes back only when no entry of the queue is under
            // way or will ever be executed.
            unsafe { self.push(built.user_data(at as u64)) }?;
        }
        self.run(
            entries.len(),
            |submitted| calls.receive.add(submitted),
            |at, result| {
                if let Some(entry) = entries.get_mut(at)
                    && !is_interrupted(result)
                {
                    entry.answer(outcome(result));
                }
            },
        )
    }

    fn send(&mut self, calls: &SystemCalls, entries: &mut [Outgoing<'_, '_>]) -> io::Result<()> {
        self.note_joining(entries.iter().map(|entry| entry.entry.fd()));
        self.gather(entries);
        let mut message = 0;
        for (at, entry) in entries.iter().enumerate() {
            let fd = entry.entry.fd().as_raw_fd();
            let chain = entry.entry.chain();
            let registered = self.is_registered(fd);
            const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let built = if chain.pieces() == 1 {
                let piece = chain.front();
                let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                if registered {
                    opcode::Send::new(Fixed(fd.cast_unsigned()), piece.as_ptr(), len).flags(FLAGS).build()
                } else {
                    opcode::Send::new(Fd(fd), piece.as_ptr(), len).flags(FLAGS).build()
                }
            } else {
                let header = &raw const self.messages[message];
                message += 1;
                let flags = FLAGS.cast_unsigned();
                if registered {
                    opcode::SendMsg::new(Fixed(fd.cast_unsigned()), header).flags(flags).build()
                } else {
                    opcode::SendMsg::new(Fd(fd), header).flags(flags).build()
                }
            };
            // SAFETY: the bytes are borrowed by `entries`, headers and pieces are not touched before `run` comes back,
            // and then no entry of the queue is under way or will ever be executed.
            unsafe { self.push(built.user_data(at as u64)) }?;
        }
        self.run(
            entries.len(),
            |submitted| calls.send.add(submitted),
            |at, result| {
                if let Some(entry) = entries.get_mut(at)
                    && !is_interrupted(result)
                {
                    entry.answer(outcome(result));
                }
            },
        )
    }

    fn forget(&mut self, calls: &SystemCalls, fd: BorrowedFd<'_>) {
        let fd = fd.as_raw_fd();
        if self.is_registered(fd) {
            calls.other.add(1);
            let offset = fd.cast_unsigned();
            // A file that cannot be unregistered would stay open; there is no reason for that but a broken ring.
            let done = self.ring.submitter().register_files_update(offset, &[-1]);
            debug_assert!(done.is_ok(), "a registered file can be unregistered");
            self.set_registered(fd, false);
        }
    }
}

impl Uring {
    fn is_registered(&self, fd: RawFd) -> bool {
        usize::try_from(fd).is_ok_and(|fd| self.registered.get(fd).copied().unwrap_or(false))
    }

    fn set_registered(&mut self, fd: RawFd, on: bool) {
        if let Ok(fd) = usize::try_from(fd)
            && let Some(registered) = self.registered.get_mut(fd)
        {
            *registered = on;
        }
    }

    /// Notes the descriptors that are used for the first time.
    fn note_joining<'a>(&mut self, fds: impl Iterator<Item = BorrowedFd<'a>>) {
        self.joining.clear();
        for fd in fds {
            let fd = fd.as_raw_fd();
            if usize::try_from(fd).is_ok_and(|fd| self.registered.get(fd) == Some(&false)) {
                self.joining.push(fd);
            }
        }
    }

    /// Lists the pieces of every entry that has several.
    fn gather(&mut self, entries: &[Outgoing<'_, '_>]) {
        self.pieces.clear();
        self.messages.clear();
        let mut ends = Vec::new();
        for entry in entries {
            let chain = entry.entry.chain();
            if chain.pieces() > 1 {
                let pieces = chain.segments().take(MOST_PIECES).map(|piece| libc::iovec {
                    iov_base: piece.as_ptr().cast_mut().cast(),
                    iov_len: piece.len(),
                });
                let from = self.pieces.len();
                self.pieces.extend(pieces);
                ends.push((from, self.pieces.len()));
            }
        }
        for (from, to) in ends {
            // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            // The kernel only reads the list.
            message.msg_iov = self.pieces[from..to].as_ptr().cast_mut();
            message.msg_iovlen = to - from;
            self.messages.push(message);
        }
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// What it refers to stays valid until [`run`](Self::run) has come back.
    unsafe fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| io::Error::other("the ring is full"))
    }

    /// Executes what is queued, and the registration of the files that join. Comes back when each entry has been
    /// executed, or when the ring is broken: then the rest is never executed, for the ring is not entered again.
    fn run(
        &mut self,
        entries: usize,
        mut count: impl FnMut(u64),
        mut answer: impl FnMut(usize, i64),
    ) -> io::Result<()> {
        for (at, fd) in self.joining.iter().enumerate() {
            let update = opcode::FilesUpdate::new(self.joining[at..].as_ptr(), 1).offset(*fd).build();
            let update = update.user_data(REGISTERS | u64::from(fd.cast_unsigned()));
            // SAFETY: the list is not touched before the queue is empty again, below.
            unsafe { self.ring.submission().push(&update) }
                .map_err(|_| io::Error::other("the ring is full"))?;
        }
        let mut missing = entries + self.joining.len();
        let mut wait = 0;
        let mut failures = 0;
        while missing > 0 {
            count(1);
            match self.ring.submit_and_wait(wait) {
                Ok(_) => {}
                Err(error) if is_passing(&error) && failures < MOST_FAILURES => failures += 1,
                Err(error) => {
                    self.reap(&mut missing, &mut answer);
                    return Err(error);
                }
            }
            self.reap(&mut missing, &mut answer);
            // All of it was executed within the call. Should a kernel do it otherwise, it is waited for: the memory is
            // not ours before.
            wait = missing;
        }
        Ok(())
    }

    fn reap(&mut self, missing: &mut usize, answer: &mut impl FnMut(usize, i64)) {
        let mut joined = Vec::new();
        for completion in self.ring.completion() {
            *missing -= 1;
            let result = i64::from(completion.result());
            match completion.user_data() {
                data if data & REGISTERS != 0 => joined.extend((result == 1).then_some(data ^ REGISTERS)),
                data => answer(usize::try_from(data).unwrap_or(usize::MAX), result),
            }
        }
        for fd in joined {
            self.set_registered(RawFd::try_from(fd).unwrap_or(-1), true);
        }
    }
}

/// Whether io_uring_enter(2) failed in a way that passes: a signal, or too little memory for the moment.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// The most descriptors this process may have open.
fn rlimit_files() -> usize {
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(0, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}
