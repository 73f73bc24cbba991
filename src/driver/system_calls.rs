//! How often a driver has called the kernel.

use crate::sync::counters;

counters! {
    /// System calls by kind. The driver's thread counts, anyone reads.
    pub struct SystemCalls {
        /// Waiting for something to happen (epoll_wait and its kin).
        pub wait,
        /// Receiving bytes.
        pub receive,
        /// Sending bytes.
        pub send,
        /// Accepting connections.
        pub accept,
        /// Changing what is watched (epoll_ctl).
        pub control,
        /// Opening, connecting, shutting down and closing.
        pub other,
    }
}

impl SystemCalls {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.snapshot().total()
    }
}

impl SystemCalls<u64> {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { wait, receive, send, accept, control, other } = self;
        wait + receive + send + accept + control + other
    }
}
