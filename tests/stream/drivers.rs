//! The drivers that servers of these tests run on: epoll. A package with other drivers runs the same tests, with a module
//! of this name of its own.

pub(crate) use linkpoll::net::Server;
