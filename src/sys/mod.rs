//! One function, one system call: the only room of the core that knows `libc` and `nix`.
//!
//! * Every descriptor is created close-on-exec and non-blocking, and is owned (`OwnedFd`) from its first moment.
//! * **EINTR policy.** A call that a signal interrupted before it did anything is made again, in `retry`, and
//!   nowhere else. The exception is `epoll_wait`: its caller has a loop of its own, so an interrupted wait reports
//!   no events.
//! * `EAGAIN` and `EWOULDBLOCK` arrive as `ErrorKind::WouldBlock`. They are answers, not failures.
//! * `SIGPIPE` is never raised: every send carries `MSG_NOSIGNAL`.

mod address;
mod epoll;
mod event_fd;
mod listener;
mod map;
mod stream;

use std::io;

pub use address::Address;
pub(crate) use epoll::Epoll;
pub use epoll::{Interest, Readiness, Ready};
pub(crate) use event_fd::EventFd;
pub(crate) use listener::{accept, listen, require_free};
pub(crate) use map::Map;
pub(crate) use stream::{
    adopt, connect, connect_result, is_of_one_connection, peer_address, receive, receive_two, send,
    shutdown_send,
};

/// Makes a call again while a signal interrupts it. The call reports failure by a negative result and `errno`.
pub(crate) fn retry(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        let result = call();
        if let Ok(done) = usize::try_from(result) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
