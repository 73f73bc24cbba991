//! The list of weakenings that no model is able to tell from the original, each with its reason.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::site::Name;
use crate::step::{Context as _, Failure, Result};

/// Where the list is, from the root of the workspace.
pub(crate) const LIST: &str = "tests/ordering-survivors.toml";

/// Why a weakening survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// The ordering is stronger than needed. Better than an entry: weaken it.
    OverStrong,
    /// Needed, but the model checker cannot show it.
    LoomLimit,
    /// Something else in the model orders the same accesses. Better than an entry: change the model.
    Masked,
    /// The model is too short to come back to the same place. Better than an entry: a longer model.
    NeedsMoreOps,
    /// Stronger than any model needs, on purpose.
    Deliberate,
}

impl fmt::Display for Class {
    /// As it is written in the list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OverStrong => "over-strong",
            Self::LoomLimit => "loom-limit",
            Self::Masked => "masked",
            Self::NeedsMoreOps => "needs-more-ops",
            Self::Deliberate => "deliberate",
        })
    }
}

/// A weakening by the name of its site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weakening {
    pub(crate) name: Name,
    /// As in `SeqCst->AcqRel`.
    pub(crate) mutation: String,
}

impl fmt::Display for Weakening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.mutation)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    survivor: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    function: String,
    operation: String,
    ordinal: usize,
    mutation: String,
    class: Class,
    reason: String,
}

/// The listed survivors.
pub(crate) type Listed = BTreeMap<Weakening, Class>;

/// Reads the list. No file is an empty list.
///
/// # Errors
/// When the file cannot be read or understood, lists one weakening twice, or gives no reason.
pub(crate) fn read(path: &Path) -> Result<Listed> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).context(path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Listed::new()),
        Err(error) => Err(error).context(path.display()),
    }
}

fn parse(text: &str) -> Result<Listed> {
    let file: File = toml::from_str(text).context("not a list of survivors")?;
    let mut listed = Listed::new();
    for entry in file.survivor {
        let Entry { file, function, operation, ordinal, mutation, class, reason } = entry;
        let weakening = Weakening { name: Name { file, function, operation, ordinal }, mutation };
        if reason.trim().is_empty() {
            return Err(Failure(format!("{weakening} has no reason")));
        }
        if listed.contains_key(&weakening) {
            return Err(Failure(format!("{weakening} is listed twice")));
        }
        listed.insert(weakening, class);
    }
    Ok(listed)
}

/// An entry to be completed by hand, for a survivor that is not listed.
pub(crate) fn proposal(weakening: &Weakening) -> String {
    let Weakening { name, mutation } = weakening;
    format!(
        "[[survivor]]\nfile = {:?}\nfunction = {:?}\noperation = {:?}\nordinal = {}\nmutation = {mutation:?}\nclass = \
         \"\" # over-strong, loom-limit, masked, needs-more-ops or deliberate\nreason = \"\"\n",
        name.file, name.function, name.operation, name.ordinal
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "[[survivor]]\nfile = \"src/a.rs\"\nfunction = \"push\"\noperation = \"swap\"\nordinal = 1\n\
                         mutation = \"AcqRel->Release\"\nclass = \"loom-limit\"\nreason = \"RMWs read the newest value.\"\n";

    #[test]
    fn a_proposal_is_an_entry_when_completed() {
        let weakening = parse(ENTRY).unwrap().into_keys().next().unwrap();
        let completed = proposal(&weakening)
            .replace("class = \"\"", "class = \"needs-more-ops\"")
            .replace("reason = \"\"", "reason = \"Two items do not wrap.\"");
        let listed = parse(&completed).unwrap();
        assert_eq!(listed, Listed::from([(weakening, Class::NeedsMoreOps)]));
    }

    #[test]
    fn classes_are_shown_as_they_are_written() {
        for class in
            [Class::OverStrong, Class::LoomLimit, Class::Masked, Class::NeedsMoreOps, Class::Deliberate]
        {
            let listed = parse(&ENTRY.replace("loom-limit", &class.to_string())).unwrap();
            assert_eq!(listed.into_values().collect::<Vec<_>>(), [class]);
        }
    }

    #[test]
    fn a_list_with_faults_is_refused() {
        assert!(parse("").unwrap().is_empty());
        assert!(parse(&ENTRY.replace("RMWs read the newest value.", " ")).is_err());
        assert!(parse(&ENTRY.replace("loom-limit", "because")).is_err());
        assert!(parse(&format!("{ENTRY}line = 3\n")).is_err());
        assert!(parse(&format!("{ENTRY}{ENTRY}")).is_err());
        assert!(parse(&format!("{ENTRY}{}", ENTRY.replace("ordinal = 1", "ordinal = 2"))).is_ok());
    }
}
