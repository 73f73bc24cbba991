//! How an epoll driver behaves.

/// When the kernel reports a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// As long as it is ready.
    #[default]
    Level,
    /// When it becomes ready (`EPOLLET`).
    Edge,
}

/// How an epoll driver behaves.
#[derive(Clone, Copy, Debug)]
pub struct EpollOptions {
    /// When the kernel reports a connection. Default: level.
    pub trigger: Trigger,
    /// The most bytes of pooled memory, for receiving and sending, at least 256 KiB. Small rests of messages that are
    /// copied out of the pool, and messages that are joined, are not among them. Default: 1 GiB.
    pub memory: usize,
    /// The most bytes received from one connection in one turn, so that a busy one does not starve the others.
    /// Default: 256 KiB.
    pub receive_budget: usize,
}

impl Default for EpollOptions {
    fn default() -> Self {
        Self { trigger: Trigger::Level, memory: 1 << 30, receive_budget: 256 << 10 }
    }
}
