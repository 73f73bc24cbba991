//! The drivers of this package, each made and made to look once.

use linkpoll_experiments::Transport;
use nix::errno::Errno;

use super::{Finding, errno};

/// All that each driver needs, under whatever filter this process runs.
pub(super) fn examine() -> Vec<Finding> {
    Transport::ALL.iter().map(|transport| try_out(*transport)).collect()
}

fn try_out(transport: Transport) -> Finding {
    let name = transport.name();
    let outcome = transport.probe().map(|()| format!("serves: lab serve --transport {name}"));
    Finding::tried(capability(name), outcome.map_err(|error| known(errno(&error))))
}

/// A failure that is none of the system's has no number.
fn known(errno: Errno) -> Errno {
    if errno == Errno::from_raw(0) { Errno::ENOTSUP } else { errno }
}

fn capability(name: &'static str) -> &'static str {
    match name {
        "epoll" => "driver epoll",
        "batch-uring" => "driver batch-uring",
        "batch-aio" => "driver batch-aio",
        "uring" => "driver uring",
        "zerocopy" => "driver zerocopy",
        other => other,
    }
}
