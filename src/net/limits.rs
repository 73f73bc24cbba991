//! The limits, as methods of those who set up loops.

use std::time::Duration;

use super::{LoopsBuilder, ServerBuilder};
use crate::conn::Marks;

macro_rules! limits {
    ($builder:ident, |$this:ident| $loops:expr) => {
        impl $builder {
            /// How long a connection may be without a byte going either way; `None` for ever. Default: for ever.
            #[must_use]
            pub fn idle_limit(self, limit: impl Into<Option<Duration>>) -> Self {
                let mut $this = self;
                $loops.options.idle_limit = limit.into();
                $this
            }

            /// How long a message may take to arrive whole; `None` for ever. Default: 60 s.
            #[must_use]
            pub fn read_limit(self, limit: impl Into<Option<Duration>>) -> Self {
                let mut $this = self;
                $loops.options.read_limit = limit.into();
                $this
            }

            /// How long a peer may take nothing of what is owed to it; `None` for ever. Default: 60 s.
            #[must_use]
            pub fn write_limit(self, limit: impl Into<Option<Duration>>) -> Self {
                let mut $this = self;
                $loops.options.write_limit = limit.into();
                $this
            }

            /// How long stopping loops let their connections finish. Default: 5 s.
            #[must_use]
            pub fn drain_limit(self, limit: Duration) -> Self {
                let mut $this = self;
                $loops.options.drain_limit = limit;
                $this
            }

            /// How much of that, at most half, is left to peers that are asked to end their connections by themselves, where
            /// the transport can ask. Default: 1 s.
            #[must_use]
            pub fn leave_limit(self, limit: Duration) -> Self {
                let mut $this = self;
                $loops.options.leave_limit = limit;
                $this
            }

            /// The most connections of each loop; at the most it does not accept. Default: 1,000,000.
            #[must_use]
            pub fn max_connections(self, connections: usize) -> Self {
                let mut $this = self;
                $loops.options.max_connections = connections;
                $this
            }

            /// The memory budget of each loop, in bytes of pooled memory in use: above it the largest holders of
            /// unread bytes are not received from. The pool itself is limited to twice as much, at least 256 KiB.
            /// Default: 512 MiB.
            #[must_use]
            pub fn memory_limit(self, bytes: usize) -> Self {
                let mut $this = self;
                $loops.options.memory_limit = bytes;
                $loops.epoll.memory = bytes.saturating_mul(2).max(256 << 10);
                $this
            }

            /// The water marks of each connection's unsent bytes. Default: 256 KiB and 64 KiB.
            #[must_use]
            pub fn marks(self, marks: Marks) -> Self {
                let mut $this = self;
                $loops.options.marks = marks;
                $this
            }

            /// The water marks of each connection's unread bytes. Default: 1 MiB and 256 KiB.
            #[must_use]
            pub fn unread_marks(self, marks: Marks) -> Self {
                let mut $this = self;
                $loops.options.unread_marks = marks;
                $this
            }
        }
    };
}

limits!(LoopsBuilder, |this| this);
limits!(ServerBuilder, |this| this.loops);
