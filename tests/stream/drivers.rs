//! The drivers that servers of these tests run on: epoll. A package with other drivers runs the same tests, with a module
//! of this name of its own.

#[path = "../server/sockets.rs"]
mod sockets;

pub(crate) use linkpoll::net::Server;
pub(crate) use sockets::{any_port, connect};
