//! One function, one system call: the only room of the core that knows `libc` and `nix`.
//!
//! * Every descriptor is created close-on-exec and non-blocking, and is owned (`OwnedFd`) from its first moment.
//! * **EINTR policy.** A call that a signal interrupted before it did anything is made again, in `retry`, and
//!   nowhere else. The exception is `epoll_wait`: its caller has a loop of its own, so an interrupted wait reports
//!   no events.
//! * `EAGAIN` and `EWOULDBLOCK` arrive as `ErrorKind::WouldBlock`. They are answers, not failures.
//! * `SIGPIPE` is never raised: every send carries `MSG_NOSIGNAL`.
//! * Every call goes through `at` or `retry`, with the name of its [`Site`]. Tests make it fail there.

mod address;
mod epoll;
mod event_fd;
#[cfg(linkpoll_faults)]
pub mod faults;
#[cfg(not(linkpoll_faults))]
#[path = "no_faults.rs"]
pub mod faults;
mod file;
mod listener;
mod map;
mod schedule;
mod site;
mod stream;
mod thread;

use std::io;

pub use address::Address;
pub(crate) use epoll::Epoll;
pub use epoll::{Interest, Readiness, Ready};
pub(crate) use event_fd::EventFd;
pub(crate) use file::{remove_file, status};
pub(crate) use listener::{accept, listen, require_free};
pub(crate) use map::{Map, exchange_pages, is_whole_pages};
pub(crate) use schedule::schedule;
use site::{Site, at_most};
pub(crate) use stream::{
    adopt, close, connect, connect_result, drop_error, is_of_one_connection, peer_address, receive,
    receive_two, send, shutdown_send,
};
pub(crate) use thread::spawn;

// A build that expects fault injection must have it, as in `sync`.
const _: () = assert!(
    option_env!("LINKPOLL_EXPECT_FAULTS").is_none() || cfg!(linkpoll_faults),
    "LINKPOLL_EXPECT_FAULTS is set, but this build has no cfg(linkpoll_faults): RUSTFLAGS has replaced the flags"
);

/// Makes a call again while a signal interrupts it. The call reports failure by a negative result and `errno`. It is
/// given the most bytes that it may move: no limit, but for a test that wants it to be short.
#[inline(always)]
pub(crate) fn retry(site: Site, mut call: impl FnMut(usize) -> libc::ssize_t) -> io::Result<usize> {
    loop {
        let once = |most| usize::try_from(call(most)).map_err(|_| io::Error::last_os_error());
        match at_most(site, once) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
