//! Fault injection: system calls that fail, are short or are interrupted because a test wants it.
//!
//! Compiled only with `cfg(linkpoll_faults)`, as `cargo verify asan` does; otherwise `no_faults.rs` stands here. Like
//! `sync` it serves the tests of this workspace, and is not covered by any promise of stability.
//!
//! * **Where** is a [`Place`]: one of this package's [`Site`]s, or one of a package on top of it, which calls the kernel
//!   through [`at`], too, and has its own table.
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

use std::fmt;

pub use super::site::{Site, at, at_most};
pub use plan::{Injected, Plan, Rule, executed};
pub use steps::{KILL, STEPS, Step, die, write_down};
pub use table::{Effect, Fault};

/// Where a package calls the kernel, or where a process may be killed between two calls. Named by `Display`, without blanks.
pub trait Place: Copy + fmt::Display + 'static {
    /// What is to happen there: a static of the package, one for each place.
    fn rule(self) -> &'static Rule;

    /// What may happen there, and what it may cost.
    fn faults(self) -> &'static [(Fault, Effect)];

    /// Whether the call is made also when it is to fail with `errno`, for what it begins goes on.
    fn goes_on(self, errno: Errno) -> bool {
        let _ = errno;
        false
    }
}

/// The process comes to a place at which it calls nobody.
pub fn pass(place: impl Place) {
    steps::pass(Step::In(place));
}

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
pub(super) fn enter(site: impl Place) -> Passage {
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
pub(super) fn leave(site: impl Place, passage: &Passage) {
    let short = passage.most < usize::MAX;
    steps::pass(if short { Step::Short(site) } else { Step::After(site) });
}
