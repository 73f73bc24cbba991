//! Runs models to learn their sites, and again with one site weakened.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::site::{Order, Site};
use crate::loom::{Model, Models};
use crate::process::{self, Finished};
use crate::step::{Context as _, Failure, Result};

/// The bound for all runs of a model. What loom branches on besides preemptions, the values that a load may
/// return, is exhaustive at any bound; two preemptions are enough for a weakening to show.
const BOUND: &str = "2";
/// A model's limit for itself, out of the way: a run that takes long must not be taken for a model that fails.
const MODEL_SECONDS: &str = "3600";
/// A recording longer than this is no model for this suite.
const RECORDING_LIMIT: Duration = Duration::from_secs(120);
/// A weakened model may take this much longer than the original did, and a little more on a busy machine.
const PATIENCE: u32 = 10;
const LEAST_PATIENCE: Duration = Duration::from_secs(20);

/// A model with what it did unweakened.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) test: Model,
    pub(crate) sites: BTreeSet<Site>,
    pub(crate) elapsed: Duration,
}

/// What became of a weakening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The model that failed, and what it said.
    Killed { test: Model, cause: String },
    /// Every model that reaches the site stayed green.
    Survived,
    /// No model failed, and this one did not end.
    TimedOut { test: Model },
}

/// Runs a model as it is, and reads the ledger that it leaves in `directory`.
///
/// # Errors
/// When the model fails, or leaves no ledger.
pub(crate) fn record(models: &Models, test: &Model, directory: &Path) -> Result<Recording> {
    let directory = directory.join(test.to_string().replace("::", "."));
    fs::create_dir_all(&directory).context(directory.display())?;
    let mut command = command(models, test);
    command.env_remove("LINKPOLL_MUTANT").env("LINKPOLL_LEDGER", &directory);
    let finished = process::run(command, RECORDING_LIMIT, |_| ()).context(test)?;
    if let Some(complaint) = finished.complaint() {
        return Err(Failure(format!("{test}, not weakened: {complaint}, {}", cause(&finished))));
    }
    let mut sites = BTreeSet::new();
    let mut ledgers = 0;
    for entry in fs::read_dir(&directory).context(directory.display())? {
        let path = entry.context(directory.display())?.path();
        let text = fs::read_to_string(&path).context(path.display())?;
        for line in text.lines() {
            sites.insert(line.parse().context(path.display())?);
        }
        ledgers += 1;
    }
    match ledgers {
        0 => Err(Failure(format!("{test} left no ledger: does it run a model?"))),
        _ => Ok(Recording { test: test.clone(), sites, elapsed: finished.elapsed }),
    }
}

/// Runs a model with one of its sites "weakened" to the ordering that it has: a model that fails now would fail
/// with every weakening, and kill nothing.
///
/// # Errors
/// When the model fails.
pub(crate) fn control(models: &Models, recording: &Recording) -> Result<()> {
    // A site cannot be armed with SeqCst, which is weaker than nothing.
    let Some(site) = recording.sites.iter().find(|site| site.order != Order::SeqCst) else { return Ok(()) };
    let finished = run(models, recording, &site.armed(site.order))?;
    match finished.complaint() {
        None => Ok(()),
        Some(complaint) => Err(Failure(format!("{}, armed but not weakened: {complaint}", recording.test))),
    }
}

/// Tries a weakening on the models that reach its site, until one fails.
///
/// # Errors
/// When a model cannot be run.
pub(crate) fn attempt(models: &Models, reaching: &[&Recording], site: &Site, weaker: Order) -> Result<Fate> {
    let mut fate = Fate::Survived;
    for recording in reaching {
        let finished = run(models, recording, &site.armed(weaker))?;
        let test = recording.test.clone();
        if finished.timed_out {
            fate = Fate::TimedOut { test };
        } else if !finished.status.success() {
            return Ok(Fate::Killed { test, cause: cause(&finished) });
        }
    }
    Ok(fate)
}

fn run(models: &Models, recording: &Recording, mutant: &str) -> Result<Finished> {
    let mut command = command(models, &recording.test);
    command.env_remove("LINKPOLL_LEDGER").env("LINKPOLL_MUTANT", mutant);
    let limit = LEAST_PATIENCE.max(recording.elapsed * PATIENCE);
    process::run(command, limit, |_| ()).context(&recording.test)
}

fn command(models: &Models, test: &Model) -> std::process::Command {
    let mut command = models.command(test);
    // A backtrace for every model that fails would cost more than the models.
    command
        .env("LINKPOLL_MODEL_BOUND", BOUND)
        .env("LINKPOLL_MODEL_SECONDS", MODEL_SECONDS)
        .env("RUST_BACKTRACE", "0");
    command
}

/// The message of the first panic, or how the process ended.
fn cause(finished: &Finished) -> String {
    let mut lines = finished.output.lines().skip_while(|line| !line.contains("panicked at"));
    let message = lines.nth(1).map(str::trim).filter(|message| !message.is_empty());
    message.map_or_else(|| finished.status.to_string(), |message| message.chars().take(60).collect())
}
