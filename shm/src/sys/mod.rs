//! One function, one system call: the only room of this package that knows `libc`, `nix` and `memmap2`.
//!
//! * Every descriptor is close-on-exec from its first moment, also one that arrives over a socket
//!   (`MSG_CMSG_CLOEXEC`), and is owned (`OwnedFd`) before anything else happens.
//! * **EINTR policy.** A call that a signal interrupted before it did anything is made again, in `retry`, and nowhere
//!   else. The exception is poll(2): its caller has a loop of its own.
//! * No call on a socket blocks (`MSG_DONTWAIT`), whatever the flags of the descriptor: these belong to the open file,
//!   which others may share. connect(2) and poll(2) wait, not longer than they are told.
//! * `SIGPIPE` is never raised: every send carries `MSG_NOSIGNAL`.
//! * Every call goes through `at` or `retry`, with the name of its [`Site`]. Tests make it fail there.

mod event_fd;
#[cfg(linkpoll_faults)]
mod faults;
mod memory;
mod site;
mod socket;

use std::io;

use linkpoll::faults::at;
use nix::errno::Errno;

pub use event_fd::EventFd;
pub(crate) use memory::{
    Seals, Shared, Status, add_seals, allocate, create_memory, map_sealed, read_sealed, seals, status,
};
pub use site::Site;
pub(crate) use site::pass;
pub use socket::Credentials;
pub(crate) use socket::{MOST_DESCRIPTORS, connect, credentials, receive, send, user, wait};

/// Makes a call again while a signal interrupts it.
#[inline]
fn retry<T, E: From<Errno> + Into<io::Error>>(
    site: Site,
    mut call: impl FnMut() -> Result<T, E>,
) -> io::Result<T> {
    loop {
        match at(site, &mut call).map_err(Into::into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Another error that says the same.
pub(crate) fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

/// A number that nobody can guess (getrandom(2)).
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    #[expect(unsafe_code, reason = "the call fills memory of ours")]
    retry(Site::Random, || {
        // SAFETY: `bytes` is live and writable for its length.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        // KERNEL: getrandom(2): up to 256 bytes are never a part of what was asked for, once it answers.
        if usize::try_from(got) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
    })?;
    Ok(u64::from_le_bytes(bytes))
}
