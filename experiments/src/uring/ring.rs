//! What the driver asks of a ring, behind a trait.
//!
//! Two users: [`KernelRing`](super::KernelRing) passes everything on to io_uring(7); a test replays completions in
//! orders that the kernel produces only now and then.
#![expect(unsafe_code, reason = "a ring is given memory and descriptors that must stay")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::time::Duration;

use linkpoll::buffer::Chain;

use super::Tag;

/// Something to be done by the ring. An operation has one completion or many; the one without
/// [`more`](Completion::more) is its last.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Accepts again and again; each result is a descriptor.
    Accept(BorrowedFd<'a>),
    /// Receives again and again, each time into one of the provided buffers.
    Receive(BorrowedFd<'a>),
    /// Receives once, into one of the provided buffers.
    ReceiveOnce(BorrowedFd<'a>),
    /// Receives once, into so many bytes of its own. The result is the number of bytes, 0 at the end of the stream.
    Fill(BorrowedFd<'a>, NonNull<u8>, usize),
    /// Sends the front of a chain, at most [`MOST_PIECES`] pieces of it. The result is the number of bytes taken, which
    /// may be fewer than there are.
    Send(BorrowedFd<'a>, &'a Chain),
    /// As `Send`, without a copy where the way allows it. A completion with `more` is followed by a
    /// [`notification`](Completion::is_notification), and only that gives the memory back.
    Lend(BorrowedFd<'a>, &'a Chain),
    /// Waits until there is room to send, which also ends a connect.
    Room(BorrowedFd<'a>),
    /// Tells what poll(2) has to say of a connection that is not received from, again and again: only `POLLHUP` and
    /// `POLLERR` in the result are of interest.
    HangUp(BorrowedFd<'a>),
    /// Tells of each edge of a bell.
    Bell(BorrowedFd<'a>),
    /// Ends the operation with this tag. Completes only when that cannot be found or does not obey.
    Cancel(Tag),
    /// Ends all operations. Completes only when there is none.
    CancelAll,
}

/// The most pieces that one send takes.
pub const MOST_PIECES: usize = 1024;

/// What has become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The tag that was given to the operation.
    pub tag: Tag,
    /// Not negative: a number of bytes, or a descriptor, or nothing of interest. Negative: an error number, negated.
    pub result: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
}

impl Completion {
    const BUFFER: u32 = 1 << 0;
    const MORE: u32 = 1 << 1;
    const NOTIFICATION: u32 = 1 << 3;
    const COPIED: i32 = i32::MIN;

    /// A completion (for a test that plays the ring).
    #[must_use]
    pub fn new(tag: Tag, result: i32, buffer: Option<u16>, more: bool) -> Self {
        let buffer = buffer.map_or(0, |id| u32::from(id) << 16 | Self::BUFFER);
        Self { tag, result, flags: buffer | if more { Self::MORE } else { 0 } }
    }

    /// A notification (for a test that plays the ring).
    #[must_use]
    pub fn notification(tag: Tag, copied: bool) -> Self {
        Self { tag, result: if copied { Self::COPIED } else { 0 }, flags: Self::NOTIFICATION }
    }

    /// The provided buffer that was used. To be asked of every completion, whatever its result.
    #[inline]
    #[must_use]
    pub fn buffer(&self) -> Option<u16> {
        (self.flags & Self::BUFFER != 0)
            .then(|| (self.flags >> 16).to_le_bytes())
            .map(|[a, b, ..]| u16::from_le_bytes([a, b]))
    }

    /// Whether the operation goes on: further completions follow.
    #[inline]
    #[must_use]
    pub fn more(&self) -> bool {
        self.flags & Self::MORE != 0
    }

    /// Whether it says that lent memory is free, and nothing else.
    #[inline]
    #[must_use]
    pub fn is_notification(&self) -> bool {
        self.flags & Self::NOTIFICATION != 0
    }

    /// Of a notification: whether the bytes were copied after all.
    #[must_use]
    pub fn was_copied(&self) -> bool {
        self.result & Self::COPIED != 0
    }

    /// The error, if the operation has failed.
    #[must_use]
    pub fn error(&self) -> Option<io::Error> {
        (self.result < 0).then(|| io::Error::from_raw_os_error(-self.result))
    }
}

/// For how long to stay in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Not at all: only hand over what is queued.
    Submit,
    /// Not at all, but let operations complete that can.
    Look,
    /// Until an operation completes, or this time is over.
    For(Duration),
    /// Until an operation completes.
    Forever,
}

/// A ring of operations and completions, with a group of provided buffers. Used on one thread.
///
/// # Safety
/// Completions say what is true, for the driver acts on it: an operation without [`more`](Completion::more) has ended,
/// and the memory that it was given is not touched any more, except by a loan that is not given back yet; a buffer that
/// is named is not touched any more, and so many bytes of it are written, as of what a fill was given; the result of an accept is a descriptor that
/// belongs to nobody else.
pub unsafe trait Ring: AsFd {
    /// The most buffers that can be with the kernel at a time.
    fn places(&self) -> u16;

    /// Whether an operation with so many pieces can be queued. It can, when everything queued before was submitted.
    fn has_room(&self, pieces: usize) -> bool;

    /// Queues an operation.
    ///
    /// # Safety
    /// Until the last completion of the operation is reaped, the descriptor stays open, and the bytes of a fill are valid
    /// for writing and touched by nobody else; until the memory of a send is given back (see [`Operation`]), its bytes
    /// stay in place and are not changed.
    ///
    /// # Panics
    /// When there is no room.
    unsafe fn queue(&mut self, operation: Operation<'_>, tag: Tag);

    /// Submits what is queued, and sleeps. May return early for no reason.
    ///
    /// # Errors
    /// As io_uring_enter(2), but for the time being over, an interruption, and a shortage that the next call may not
    /// find any more.
    fn enter(&mut self, sleep: Sleep) -> io::Result<()>;

    /// From now on the descriptor is readable while there may be completions that the last `enter` has not seen. Answers
    /// whether it was so already at that time; if not, the caller enters once more before it relies on it.
    ///
    /// # Errors
    /// As io_uring_register(2).
    fn arm(&mut self) -> io::Result<bool>;

    /// Moves the completions that are there to the end of `into`. Answers whether some are held back because there was
    /// no room for them; the next `enter` but a `Submit` brings those.
    fn reap(&mut self, into: &mut Vec<Completion>) -> bool;

    /// Gives the kernel a buffer to receive into; it is used after those given before.
    ///
    /// # Safety
    /// The bytes are valid for writing, and nobody else touches them, until a completion names the buffer or the ring
    /// has no operation any more. No buffer with this number is with the kernel, and fewer than
    /// [`places`](Self::places) are.
    unsafe fn provide(&mut self, number: u16, bytes: NonNull<u8>, len: usize);
}
