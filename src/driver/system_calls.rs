//! How often a driver has called the kernel.

use crate::sync::Counter;

/// System calls by kind. The driver's thread counts, anyone reads.
#[derive(Debug, Default)]
pub struct SystemCalls {
    /// Waiting for something to happen (epoll_wait and its kin).
    pub wait: Counter,
    /// Receiving bytes.
    pub receive: Counter,
    /// Sending bytes.
    pub send: Counter,
    /// Accepting connections.
    pub accept: Counter,
    /// Changing what is watched (epoll_ctl).
    pub control: Counter,
    /// Opening, connecting, shutting down and closing.
    pub other: Counter,
}

impl SystemCalls {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { wait, receive, send, accept, control, other } = self;
        [wait, receive, send, accept, control, other].into_iter().map(Counter::get).sum()
    }
}
