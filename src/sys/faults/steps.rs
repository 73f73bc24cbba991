//! Where a process is, for those who kill it.
//!
//! A process writes the step that it is in to the file named by the variable [`STEPS`]: one byte, at the start. Whoever
//! kills it reads the file then. A process with a variable [`KILL`] kills itself when it comes to a step for the n-th
//! time; `ReceiveVectored after 3` is such a value. Both variables are read once.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::str::FromStr;
use std::sync::OnceLock;

use super::Site;
use crate::sync::{AtomicU64, Ordering};

/// The variable that names the file for steps.
pub const STEPS: &str = "LINKPOLL_STEPS";
/// The variable that names the step to die in.
pub const KILL: &str = "LINKPOLL_KILL";

/// A moment in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// No call was made yet.
    Begun,
    /// About to make a call, or in it.
    In(Site),
    /// Behind a call that a test has cut short, and before the next.
    Short(Site),
    /// Behind any other call, and before the next.
    After(Site),
}

impl Step {
    fn byte(self) -> u8 {
        match self {
            Self::Begun => 0,
            Self::In(site) => 1 + site as u8,
            Self::Short(site) => 64 + site as u8,
            Self::After(site) => 128 + site as u8,
        }
    }

    /// The step that a process has written.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        let steps = [Self::In, Self::Short, Self::After];
        let all = steps.into_iter().flat_map(|step| Site::ALL.map(step));
        all.chain([Self::Begun]).find(|step| step.byte() == byte)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun => f.write_str("begun"),
            Self::In(site) => write!(f, "{site} in"),
            Self::Short(site) => write!(f, "{site} short"),
            Self::After(site) => write!(f, "{site} after"),
        }
    }
}

impl FromStr for Step {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let mut all = (0..=u8::MAX).filter_map(Self::from_byte);
        all.find(|step| step.to_string() == text).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// What the variables say.
#[derive(Debug)]
struct Victim {
    file: Option<File>,
    /// The step to die in, and how many times it is to be survived.
    kill: Option<(Step, u64)>,
    passes: AtomicU64,
}

impl Victim {
    fn from_environment() -> Self {
        let file = env::var_os(STEPS).and_then(|path| File::options().write(true).open(path).ok());
        let kill = env::var(KILL).ok().and_then(|text| {
            let (step, survived) = text.rsplit_once(' ')?;
            Some((step.parse().ok()?, survived.parse().ok()?))
        });
        Self { file, kill, passes: AtomicU64::new(0) }
    }
}

static VICTIM: OnceLock<Victim> = OnceLock::new();

/// The process comes to a step.
pub(super) fn pass(step: Step) {
    let victim = VICTIM.get_or_init(Victim::from_environment);
    if let Some(file) = &victim.file {
        // Where a step cannot be written there is nobody to tell.
        drop(file.write_at(&[step.byte()], 0));
    }
    if let Some((last, survived)) = victim.kill
        && last == step
        // ORDERING: Relaxed, no partner: a count.
        && victim.passes.fetch_add(1, Ordering::Relaxed) == survived
    {
        die();
    }
}

/// Ends this process as `kill -9` does.
#[expect(unsafe_code, reason = "raise(3) is called")]
pub fn die() {
    // SAFETY: no memory is passed.
    unsafe { libc::raise(libc::SIGKILL) };
}
