//! A ring of the kernel's.
#![expect(unsafe_code, reason = "operations name memory and descriptors by address and number")]

use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use linkpoll::buffer::Chain;

use super::super::ring::{Completion, MOST_PIECES, Operation, Ring, Sleep};
use super::super::{Tag, UringOptions};
use super::buffer_ring::{BufferRing, GROUP};
use super::news::News;

/// KERNEL: linux/io_uring.h.
const GETEVENTS: u32 = 1 << 0;
const EXT_ARG: u32 = 1 << 3;
const REPORT_USAGE: u16 = 1 << 3;

/// Pieces that can be listed between two submissions.
const LIST: usize = 4 * MOST_PIECES;
/// KERNEL: a send or a receive takes at most 2 GiB.
const MOST_BYTES: usize = 1 << 30;

/// io_uring(7), with a queue of provided buffers.
pub struct KernelRing {
    ring: IoUring,
    buffers: BufferRing,
    /// The lists of pieces of queued sends, and the messages that point to them.
    pieces: Box<[libc::iovec]>,
    pieces_used: usize,
    messages: Box<[libc::msghdr]>,
    messages_used: usize,
    /// Bytes after which a receive ends.
    limit: u32,
    news: News,
}

impl KernelRing {
    /// Sets a ring up, for the calling thread.
    ///
    /// # Errors
    /// As io_uring_setup(2) and io_uring_register(2): `ENOSYS` and `EPERM` where rings are not to be had, `EINVAL` and
    /// `Unsupported` where the kernel is too old (before 6.1).
    pub fn new(options: &UringOptions) -> io::Result<Self> {
        let submissions = options.submissions.clamp(1, 1 << 15);
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(options.completions.max(submissions.next_power_of_two()));
        let ring = builder.build(submissions)?;
        let parameters = ring.params();
        if !parameters.is_feature_nodrop()
            || !parameters.is_feature_ext_arg()
            || !parameters.is_feature_submit_stable()
        {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's io_uring is too old"));
        }
        let limit = if knows_limits()? { u32::try_from(options.receive_limit()).unwrap_or(0) } else { 0 };
        let buffers = BufferRing::register(&ring, options.buffers.clamp(1, 1 << 15).next_power_of_two())?;
        let entries = ring.params().sq_entries() as usize;
        // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
        let message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Ok(Self {
            ring,
            buffers,
            pieces: vec![nothing; LIST].into(),
            pieces_used: 0,
            messages: vec![message; entries].into(),
            messages_used: 0,
            limit,
            news: News::new()?,
        })
    }

    /// Lists the pieces of a chain; answers the message that points to them.
    fn list(&mut self, chain: &Chain) -> *const libc::msghdr {
        let pieces = &mut self.pieces[self.pieces_used..];
        let mut len = 0;
        for (piece, segment) in pieces.iter_mut().zip(chain.segments().take(MOST_PIECES)) {
            piece.iov_base = segment.as_ptr().cast_mut().cast();
            piece.iov_len = segment.len();
            len += 1;
        }
        let message = &mut self.messages[self.messages_used];
        message.msg_iov = pieces.as_mut_ptr();
        message.msg_iovlen = len;
        self.pieces_used += len;
        self.messages_used += 1;
        ptr::from_ref(message)
    }

    fn send(&mut self, fd: Fd, chain: &Chain) -> Entry {
        let flags = libc::MSG_NOSIGNAL;
        if chain.pieces() == 1 {
            let (start, len) = only(chain);
            return opcode::Send::new(fd, start, len).flags(flags).build();
        }
        opcode::SendMsg::new(fd, self.list(chain)).flags(flags.cast_unsigned()).build()
    }

    fn lend(&mut self, fd: Fd, chain: &Chain) -> Entry {
        let flags = libc::MSG_NOSIGNAL;
        if chain.pieces() == 1 {
            let (start, len) = only(chain);
            return opcode::SendZc::new(fd, start, len).flags(flags).zc_flags(REPORT_USAGE).build();
        }
        let message = self.list(chain);
        opcode::SendMsgZc::new(fd, message).flags(flags.cast_unsigned()).ioprio(REPORT_USAGE).build()
    }

    fn entry(&mut self, operation: Operation<'_>) -> Entry {
        let raw = |fd: BorrowedFd<'_>| Fd(fd.as_raw_fd());
        let poll =
            |fd, events: libc::c_short| opcode::PollAdd::new(raw(fd), u32::from(events.cast_unsigned()));
        let quiet = |entry: Entry| entry.flags(Flags::SKIP_SUCCESS);
        match operation {
            Operation::Accept(fd) => {
                opcode::AcceptMulti::new(raw(fd)).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build()
            }
            Operation::Receive(fd) => receive(raw(fd), self.limit),
            Operation::ReceiveOnce(fd) => {
                // KERNEL: a length of 0 is that of the buffer.
                let entry = opcode::Recv::new(raw(fd), ptr::null_mut(), 0).buf_group(GROUP).build();
                entry.flags(Flags::BUFFER_SELECT)
            }
            Operation::Fill(fd, start, len) => {
                let len = u32::try_from(len.min(MOST_BYTES)).unwrap_or(u32::MAX);
                opcode::Recv::new(raw(fd), start.as_ptr(), len).build()
            }
            Operation::Send(fd, chain) => self.send(raw(fd), chain),
            Operation::Lend(fd, chain) => self.lend(raw(fd), chain),
            Operation::Room(fd) => poll(fd, libc::POLLOUT).build(),
            // KERNEL: the end of the peer's direction (POLLRDHUP) is reported too, asked for or not. So one answer is not
            // enough; those after the first come with news only.
            Operation::HangUp(fd) => poll(fd, libc::POLLHUP | libc::POLLERR).multi(true).build(),
            Operation::Bell(fd) => {
                self.news.heed_bell(fd);
                poll(fd, libc::POLLIN).multi(true).build()
            }
            Operation::Cancel(tag) => quiet(opcode::AsyncCancel::new(tag.to_word()).build()),
            Operation::CancelAll => quiet(opcode::AsyncCancel2::new(CancelBuilder::any()).build()),
        }
    }
}

/// A multishot receive that ends when so many bytes have come; 0 for no limit.
///
/// KERNEL: since 6.17 (`IORING_RECV_MSHOT_LIM`); before, the limit is refused with `EINVAL`. The crate has no way to
/// set it.
fn receive(fd: Fd, limit: u32) -> Entry {
    let entry = opcode::RecvMulti::new(fd, GROUP).build();
    // SAFETY: an entry is the kernel's structure of 64 bytes of plain data, without padding.
    let mut raw: [u8; 64] = unsafe { mem::transmute(entry) };
    raw[44..48].copy_from_slice(&limit.to_ne_bytes());
    // SAFETY: as above.
    unsafe { mem::transmute(raw) }
}

/// Whether receives can be limited.
fn knows_limits() -> io::Result<bool> {
    let (socket, _peer) = UnixStream::pair()?;
    let mut ring = IoUring::new(2)?;
    // SAFETY: the receive names no memory, and the socket outlives it: without a group of buffers it fails at once.
    unsafe { ring.submission().push(&receive(Fd(socket.as_raw_fd()), 1)) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().is_some_and(|completion| completion.result() != -libc::EINVAL))
}

/// The one piece of a chain that has one.
fn only(chain: &Chain) -> (*const u8, u32) {
    let piece = chain.front();
    (piece.as_ptr(), u32::try_from(piece.len().min(MOST_BYTES)).unwrap_or(u32::MAX))
}

// SAFETY: everything is passed on to the kernel, and what it answers is passed back.
unsafe impl Ring for KernelRing {
    fn places(&self) -> u16 {
        self.buffers.places()
    }

    #[inline]
    fn has_room(&self, pieces: usize) -> bool {
        // SAFETY: nobody else holds the queue: no method keeps it.
        let queue = unsafe { self.ring.submission_shared() };
        !queue.is_full()
            && self.messages_used < self.messages.len()
            && self.pieces_used + pieces <= self.pieces.len()
    }

    #[inline]
    unsafe fn queue(&mut self, operation: Operation<'_>, tag: Tag) {
        let entry = self.entry(operation).user_data(tag.to_word());
        // SAFETY: the caller promises that descriptor and bytes stay; the lists stay until the entry is submitted.
        let queued = unsafe { self.ring.submission().push(&entry) };
        assert!(queued.is_ok(), "the caller has asked for room");
    }

    fn enter(&mut self, sleep: Sleep) -> io::Result<()> {
        if !matches!(sleep, Sleep::Submit) {
            // Before the call: what comes after it is news again.
            self.news.clear()?;
        }
        let mut time = Timespec::new();
        let (flags, wanted) = match sleep {
            Sleep::Submit => (EXT_ARG, 0),
            Sleep::Look => (EXT_ARG | GETEVENTS, 0),
            Sleep::For(limit) => {
                time = limit.into();
                (EXT_ARG | GETEVENTS, 1)
            }
            Sleep::Forever => (EXT_ARG | GETEVENTS, 1),
        };
        let arguments = SubmitArgs::new();
        let arguments = if matches!(sleep, Sleep::For(_)) { arguments.timespec(&time) } else { arguments };
        let queued = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: the flags say what the argument is, and it outlives the call.
        let entered = unsafe { self.ring.submitter().enter(queued, wanted, flags, Some(&arguments)) };
        if self.ring.submission().is_empty() {
            self.pieces_used = 0;
            self.messages_used = 0;
        }
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // KERNEL: io_uring_enter(2): EBUSY and EAGAIN say that there is no memory, or that completions are
                // to be taken first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn arm(&mut self) -> io::Result<bool> {
        self.news.arm(&self.ring)
    }

    #[inline]
    fn reap(&mut self, into: &mut Vec<Completion>) -> bool {
        into.extend(self.ring.completion().map(|entry| Completion {
            tag: Tag::from_word(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
        self.ring.submission().cq_overflow()
    }

    #[inline]
    unsafe fn provide(&mut self, number: u16, bytes: NonNull<u8>, len: usize) {
        self.buffers.provide(number, bytes, u32::try_from(len).unwrap_or(u32::MAX));
    }
}

impl AsFd for KernelRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        self.buffers.close(&self.ring);
    }
}

impl fmt::Debug for KernelRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelRing").field("fd", &self.ring.as_raw_fd()).finish_non_exhaustive()
    }
}
