//! The drivers that servers and loops of these tests run on, and the other ends of their connections: epoll, and sockets. A
//! package with other drivers runs the same tests, with a module of this name of its own.

#[path = "sockets.rs"]
mod sockets;

pub(crate) use linkpoll::net::{Loops, Server, ServerBuilder};
pub(crate) use sockets::{any_port, connect};

/// Bytes of memory of a server's that the system may keep for a peer that does not read, beyond what the server owes.
pub(crate) fn most_lent() -> usize {
    0
}
