//! Where a process is, for those who kill it.
//!
//! A process writes the step that it is in to the file named by the variable [`STEPS`]: a line, at the start. Whoever
//! kills it reads the file then. A process with a variable [`KILL`] kills itself when it comes to a step for the n-th
//! time; `ReceiveVectored after 3` is such a value. Both variables are read once.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use super::{Place, Site};
use crate::sync::{AtomicU64, Ordering};

/// The variable that names the file for steps.
pub const STEPS: &str = "LINKPOLL_STEPS";
/// The variable that names the step to die in.
pub const KILL: &str = "LINKPOLL_KILL";

/// A moment in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step<P = Site> {
    /// About to make a call, or in it.
    In(P),
    /// Behind a call that a test has cut short, and before the next.
    Short(P),
    /// Behind any other call, and before the next.
    After(P),
}

impl<P: Place> fmt::Display for Step<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(site) => write!(f, "{site} in"),
            Self::Short(site) => write!(f, "{site} short"),
            Self::After(site) => write!(f, "{site} after"),
        }
    }
}

/// What the variables say.
#[derive(Debug)]
struct Victim {
    file: Option<File>,
    /// The step to die in, and how many times it is to be survived.
    kill: Option<(String, u64)>,
    passes: AtomicU64,
}

impl Victim {
    fn from_environment() -> Self {
        let file = env::var_os(STEPS).and_then(|path| File::options().write(true).open(path).ok());
        let kill = env::var(KILL).ok().and_then(|text| {
            let (step, survived) = text.rsplit_once(' ')?;
            Some((step.to_owned(), survived.parse().ok()?))
        });
        Self { file, kill, passes: AtomicU64::new(0) }
    }
}

static VICTIM: OnceLock<Victim> = OnceLock::new();

/// The process comes to a step.
pub(super) fn pass<P: Place>(step: Step<P>) {
    let victim = VICTIM.get_or_init(Victim::from_environment);
    if victim.file.is_none() && victim.kill.is_none() {
        return;
    }
    let name = step.to_string();
    if let Some(file) = &victim.file {
        // Where a step cannot be written there is nobody to tell.
        drop(write_down(file, &name));
    }
    if let Some((last, survived)) = &victim.kill
        && *last == name
        // ORDERING: Relaxed, no partner: a count.
        && victim.passes.fetch_add(1, Ordering::Relaxed) == *survived
    {
        die();
    }
}

/// Writes a step's name over the one before, by one call: a line of 48 bytes.
///
/// # Errors
/// As pwrite(2).
pub fn write_down(file: &File, name: &str) -> io::Result<()> {
    file.write_all_at(format!("{name:<47}\n").as_bytes(), 0)
}

/// Ends this process as `kill -9` does.
#[expect(unsafe_code, reason = "raise(3) is called")]
pub fn die() {
    // SAFETY: no memory is passed.
    unsafe { libc::raise(libc::SIGKILL) };
}
