//! The core's own tests of servers and streams, on every transport.
//!
//! The modules are the core's files. A process is about one transport: run as it is, the tests are on the enum over
//! drivers that holds epoll; the tests of `on_every_transport` run this program again for each of the others. Files that
//! are about the epoll driver itself (`counting`, `starting`) are not among them.
//!
//! ```text
//! LINKPOLL_TEST_TRANSPORT=uring cargo test -p linkpoll-experiments --test servers
//! ```

#![allow(
    unfulfilled_lint_expectations,
    reason = "the core's tests may not use types that this package's may"
)]

mod drivers;

#[path = "../../../tests/stream/bed.rs"]
mod bed;
#[path = "../../../tests/server/client.rs"]
mod client;
#[path = "../../../tests/server/recorder.rs"]
mod recorder;

#[path = "../../../tests/server/calling.rs"]
mod calling;
#[path = "../../../tests/server/cases.rs"]
mod cases;
#[path = "../../../tests/server/detaching.rs"]
mod detaching;
#[path = "../../../tests/server/dialling/mod.rs"]
mod dialling;
#[path = "../../../tests/server/echoing.rs"]
mod echoing;
#[path = "../../../tests/server/ending.rs"]
mod ending;
#[path = "../../../tests/server/handles.rs"]
mod handles;
#[path = "../../../tests/server/hostile.rs"]
mod hostile;
#[path = "../../../tests/server/limits.rs"]
mod limits;
#[path = "../../../tests/server/panics.rs"]
mod panics;
#[path = "../../../tests/server/patience.rs"]
mod patience;
#[path = "../../../tests/server/placing.rs"]
mod placing;
#[path = "../../../tests/server/pooled.rs"]
mod pooled;
#[path = "../../../tests/server/services.rs"]
mod services;
#[path = "../../../tests/server/signals.rs"]
mod signals;
#[path = "../../../tests/server/stopping.rs"]
mod stopping;
#[path = "../../../tests/stream/blocking.rs"]
mod stream_blocking;
#[path = "../../../tests/stream/ends.rs"]
mod stream_ends;
#[path = "../../../tests/stream/flow.rs"]
mod stream_flow;
#[path = "../../../tests/stream/stopping.rs"]
mod stream_stopping;
#[path = "../../../tests/server/unix_files.rs"]
mod unix_files;

/// Every test of this program passes on every transport.
mod on_every_transport {
    use std::process::{Command, Stdio};

    use linkpoll_experiments::Transport;

    use crate::drivers::TRANSPORT;

    #[allow(dead_code, reason = "it depends on the features which transports there are")]
    fn passes(transport: Transport) {
        let program = std::env::current_exe().expect("the test's own program");
        let output = Command::new(program)
            .args(["--skip", "on_every_transport"])
            .env(TRANSPORT, transport.name())
            .stdin(Stdio::null())
            .output()
            .expect("the test's own program runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "on {transport}:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!text.contains(" 0 passed"), "nothing was tested on {transport}:\n{text}");
    }

    #[cfg(feature = "batch")]
    #[test]
    fn the_core_holds_on_batch_uring() {
        passes(Transport::BatchUring);
    }

    #[cfg(feature = "batch")]
    #[test]
    fn the_core_holds_on_batch_aio() {
        passes(Transport::BatchAio);
    }

    #[cfg(feature = "uring")]
    #[test]
    fn the_core_holds_on_uring() {
        passes(Transport::Uring);
    }

    #[cfg(feature = "zerocopy")]
    #[test]
    fn the_core_holds_on_zerocopy() {
        passes(Transport::Zerocopy);
    }
}
