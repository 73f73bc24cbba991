//! The places at which the core calls the kernel.
//!
//! Each call goes through [`at`], or through [`retry`](super::retry), with the name of its place. In a build with
//! `cfg(linkpoll_faults)` a test can make it fail there, be short or be interrupted, and learn where a process was when
//! it was killed; see `faults`. In every other build both only make the call.

use nix::errno::Errno;

use super::faults::{self, Place};

/// A place at which the core calls the kernel: one system call each, though some are made for more than one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// epoll_create1(2).
    EpollCreate,
    /// epoll_ctl(2), `EPOLL_CTL_ADD`.
    EpollAdd,
    /// epoll_ctl(2), `EPOLL_CTL_MOD`.
    EpollModify,
    /// epoll_ctl(2), `EPOLL_CTL_DEL`.
    EpollDelete,
    /// epoll_wait(2).
    EpollWait,
    /// eventfd(2).
    EventFd,
    /// write(2) to an eventfd.
    EventFdWrite,
    /// read(2) from an eventfd.
    EventFdRead,
    /// socket(2).
    Socket,
    /// setsockopt(2).
    SetOption,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// getsockname(2).
    SocketName,
    /// accept4(2).
    Accept,
    /// connect(2), without waiting for the outcome.
    Connect,
    /// getsockopt(2) of `SO_ERROR`: the outcome of a connect.
    ConnectResult,
    /// getsockopt(2) of `SO_TYPE`, of a descriptor that somebody else has opened.
    SocketType,
    /// getpeername(2).
    PeerName,
    /// fcntl(2): the flags of a descriptor that somebody else has opened are read, and set.
    FileFlags,
    /// recv(2).
    Receive,
    /// readv(2).
    ReceiveVectored,
    /// recvmsg(2) from the error queue.
    ErrorQueue,
    /// send(2).
    Send,
    /// sendmsg(2).
    SendVectored,
    /// shutdown(2).
    Shutdown,
    /// close(2) of a connection or a listener. It gives the descriptor back whatever it answers.
    Close,
    /// mmap(2). What munmap(2) answers is not looked at: the ranges are our own, so it cannot fail.
    Map,
    /// madvise(2), `MADV_DONTNEED`.
    PageExchange,
    /// pthread_create(3).
    Spawn,
    /// sched_getattr(2).
    SchedulingRead,
    /// sched_setattr(2).
    SchedulingWrite,
    /// lstat(2) of a socket's file.
    FileStatus,
    /// connect(2) to a socket's file, to find out whether somebody listens there; nobody waits for it.
    FileProbe,
    /// unlink(2) of a socket's file.
    FileRemove,
}

/// Makes a call.
///
/// # Errors
/// As the call, or as a test wants it.
#[inline(always)]
pub fn at<T, E: From<Errno>>(site: impl Place, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    at_most(site, |_| call())
}

/// Makes a call that is given the most that it may move or report: no limit, but for a test that wants it to be short.
///
/// # Errors
/// As [`at`].
#[inline(always)]
pub fn at_most<T, E: From<Errno>>(
    site: impl Place,
    call: impl FnOnce(usize) -> Result<T, E>,
) -> Result<T, E> {
    let passage = faults::enter(site);
    let result = match passage.instead {
        None => call(passage.most),
        Some(errno) => Err(errno.into()),
    };
    faults::leave(site, &passage);
    match passage.besides {
        None => result,
        Some(errno) => Err(errno.into()),
    }
}
