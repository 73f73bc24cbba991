//! Fault injection: system calls that fail, are short or are interrupted because a test wants it.
//!
//! Compiled only with `cfg(linkpoll_faults)`, as `cargo verify asan` does; otherwise `no_faults.rs` stands here. Like
//! `sync` it serves the tests of this workspace, and is not covered by any promise of stability.
//!
//! * **What can happen** is a table, site by site, taken from the man pages: `table.rs`.
//! * **What is to happen** is a [`Plan`] for the whole process. It says of a site's n-th call, or of each call with a
//!   chance, how it goes. Chances are a function of a seed, the site and n, so a seed is a program: what differs
//!   between two runs is only which connection the n-th call serves. See `plan.rs`.
//! * **What has happened** is counted for each site and fault.
//! * **Where a process is** when it is killed can be told from a file that it writes its steps to, and a process can be
//!   told to kill itself in a step. See `steps.rs`.
//!
//! A call that is to fail is not made. The exceptions are those whose failure says that something goes on, as
//! `EINTR` of connect(2) does: they are made, too.

mod plan;
mod steps;
mod table;

use nix::errno::Errno;

pub use super::site::Site;
pub use plan::{Injected, Plan, executed};
pub use steps::{KILL, STEPS, Step, die};
pub use table::{Effect, Fault};

/// How a call is to go.
pub(super) struct Passage {
    /// It is not made, and fails with this.
    pub(super) instead: Option<Errno>,
    /// It is made, and fails with this.
    pub(super) besides: Option<Errno>,
    /// It may move so many bytes, or report so many events.
    pub(super) most: usize,
}

/// Before a call.
pub(super) fn enter(site: Site) -> Passage {
    steps::pass(Step::In(site));
    let passage = Passage { instead: None, besides: None, most: usize::MAX };
    match plan::decide(site) {
        None => passage,
        Some((Fault::Short, most)) => Passage { most, ..passage },
        Some((Fault::Errno(errno), _)) if site.goes_on(errno) => Passage { besides: Some(errno), ..passage },
        Some((Fault::Errno(errno), _)) => Passage { instead: Some(errno), ..passage },
    }
}

/// After a call.
pub(super) fn leave(site: Site, passage: &Passage) {
    let short = passage.most < usize::MAX;
    steps::pass(if short { Step::Short(site) } else { Step::After(site) });
}
