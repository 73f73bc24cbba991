//! What the fates of all weakenings come to.

use std::fmt;

use super::Mutant;
use super::run::Fate;
use super::survivors::{self, Class, LIST, Listed, Weakening};
use crate::step::Shell;

/// The sum of a run. Green when nothing but kills and listed survivors is in it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    killed: usize,
    listed: Vec<(Weakening, Class)>,
    /// Survivors without an entry, with what arms them.
    unlisted: Vec<(Weakening, String)>,
    timed_out: Vec<(Weakening, String)>,
    /// Entries about sites that are no more, or about weakenings that a model kills.
    pub(super) stale: Vec<Weakening>,
    /// Atomic operations that no model performs.
    pub(super) unreached: Vec<String>,
}

impl Verdict {
    /// Counts one weakening.
    pub(super) fn add(&mut self, mutant: &Mutant<'_>, fate: &Fate, listed: &Listed) {
        let weakening = mutant.weakening.clone();
        let armed = mutant.site.armed(mutant.weaker);
        match (fate, listed.get(&mutant.weakening)) {
            (Fate::Killed { .. }, entry) => {
                self.killed += 1;
                self.stale.extend(entry.map(|_| weakening));
            }
            (Fate::Survived, Some(&class)) => self.listed.push((weakening, class)),
            (Fate::Survived, None) => self.unlisted.push((weakening, armed)),
            (Fate::TimedOut { .. }, _) => self.timed_out.push((weakening, armed)),
        }
    }

    pub(super) fn is_green(&self) -> bool {
        self.unlisted.is_empty()
            && self.timed_out.is_empty()
            && self.stale.is_empty()
            && self.unreached.is_empty()
    }

    /// Says what a person may want to do something about.
    pub(super) fn show(&self, shell: &Shell) {
        for (weakening, class) in &self.listed {
            shell.detail(&format!("listed survivor: {weakening} ({class})"));
        }
        for (weakening, armed) in &self.unlisted {
            shell.say(&format!("SURVIVED and not listed in {LIST}: {weakening} (LINKPOLL_MUTANT={armed})"));
        }
        for (weakening, armed) in &self.timed_out {
            shell.say(&format!("TIMED OUT: {weakening} (LINKPOLL_MUTANT={armed})"));
        }
        self.stale.iter().for_each(|weakening| shell.say(&format!("STALE entry in {LIST}: {weakening}")));
        self.unreached.iter().for_each(|place| shell.say(&format!("NO MODEL reaches {place}")));
        if !self.unlisted.is_empty() {
            shell.detail(&format!("Kill them with a model, weaken the code, or list them in {LIST}:\n"));
            self.unlisted.iter().for_each(|(weakening, _)| shell.detail(&survivors::proposal(weakening)));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let survived = self.listed.len() + self.unlisted.len();
        write!(
            f,
            "{} killed, {survived} survived ({} not listed), {} timed out, {} stale entries, {} sites unreached",
            self.killed,
            self.unlisted.len(),
            self.timed_out.len(),
            self.stale.len(),
            self.unreached.len()
        )
    }
}
