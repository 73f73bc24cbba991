//! The drivers that servers and loops of these tests run on: epoll. A package with other drivers runs the same tests,
//! with a module of this name of its own.

pub(crate) use linkpoll::net::{Loops, Server, ServerBuilder};

/// Bytes of memory of a server's that the system may keep for a peer that does not read, beyond what the server owes.
pub(crate) fn most_lent() -> usize {
    0
}
