//! The core's own tests of servers and streams, over shared memory.
//!
//! The modules are the core's files. Their clients are sockets; a relay makes sessions of these. Files that set options of
//! sockets, reset them, or reckon with how much fits into one, are not among them.
#![allow(
    dead_code,
    unfulfilled_lint_expectations,
    reason = "the core's tests may not use types that this package's may; not all of its files are here"
)]

mod drivers;
mod relay;

/// Other ends of sessions, as the conformance suite has them.
#[path = "../conformance"]
mod sessions {
    mod bed;
    mod peer;

    pub(crate) use bed::ShmBed;
    pub(crate) use peer::{Order, ShmPeer};
}

#[path = "../../../tests/stream/bed.rs"]
mod bed;
#[path = "../../../tests/server/client.rs"]
mod client;
#[path = "../../../tests/server/recorder.rs"]
mod recorder;

#[path = "../../../tests/server/echoing.rs"]
mod echoing;
#[path = "../../../tests/server/ending.rs"]
mod ending;
#[path = "../../../tests/server/handles.rs"]
mod handles;
#[path = "../../../tests/server/panics.rs"]
mod panics;
#[path = "../../../tests/server/patience.rs"]
mod patience;
#[path = "../../../tests/server/services.rs"]
mod services;
#[path = "../../../tests/stream/blocking.rs"]
mod stream_blocking;
#[path = "../../../tests/stream/stopping.rs"]
mod stream_stopping;
