//! Joins what the models recorded with what the source says: names for the sites, and sites that no model reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::site::{Name, Site};
use crate::loom::PACKAGES;
use crate::source::{atomic_calls, code_only, enclosing_function, is_shipped};
use crate::step::{Context as _, Result};

/// The room of the primitives themselves, and that of words in mapped memory, which no model checker sees; the ledger is
/// about those who use them.
const PRIMITIVES: [&str; 2] = ["src/sync/", "shm/src/storage/mapped.rs"];

/// The code of the packages with models, by path from the root of the workspace; comments and literals are blanked.
#[derive(Debug)]
pub(crate) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Reads all of it, but for the primitives.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn read() -> Result<Self> {
        let mut files = BTreeMap::new();
        for (_, directory, _) in PACKAGES {
            collect(Path::new(directory), &mut files).context(directory)?;
        }
        files.retain(|path, _| !PRIMITIVES.iter().any(|room| path.starts_with(room)));
        Ok(Self(files))
    }

    /// Whether a recorded site is in code that ships, and not in a model or in the primitives.
    pub(crate) fn ships(&self, site: &Site) -> bool {
        self.0.get(&site.file).is_some_and(|code| is_shipped(&site.file, code, site.line))
    }

    /// Names for all these sites.
    pub(crate) fn names<'a>(&self, sites: impl IntoIterator<Item = &'a Site>) -> BTreeMap<&'a Site, Name> {
        // One place with two orderings (they may be chosen at run time) is one ordinal.
        let mut places: BTreeMap<_, BTreeSet<(usize, usize)>> = BTreeMap::new();
        let mut functions = Vec::new();
        for site in sites {
            let code = self.0.get(&site.file).map_or("", String::as_str);
            let function = enclosing_function(code, site.line).unwrap_or("-").to_owned();
            let key = (site.file.as_str(), function, site.operation.as_str());
            places.entry(key.clone()).or_default().insert((site.line, site.column));
            functions.push((site, key));
        }
        let name = |(site, key): (&'a Site, _)| {
            let places = &places[&key];
            let ordinal = places.range(..=(site.line, site.column)).count();
            let (file, function, operation) = key;
            (site, Name { file: file.to_owned(), function, operation: operation.to_owned(), ordinal })
        };
        functions.into_iter().map(name).collect()
    }

    /// Atomic operations in code that ships which are not among the recorded sites, as `file:line method`.
    pub(crate) fn unreached(&self, recorded: &BTreeSet<Site>) -> Vec<String> {
        let mut seen: BTreeMap<(&str, usize, &str), BTreeSet<usize>> = BTreeMap::new();
        for site in recorded {
            let method = site.operation.split('.').next().unwrap_or_default();
            seen.entry((&site.file, site.line, method)).or_default().insert(site.column);
        }
        let mut unreached = Vec::new();
        for (file, code) in &self.0 {
            // Of several calls of one method on one line each must have been recorded, with a column of its own.
            let mut written: BTreeMap<(usize, String), usize> = BTreeMap::new();
            for call in atomic_calls(code).into_iter().filter(|call| is_shipped(file, code, call.line)) {
                *written.entry((call.line, call.method)).or_default() += 1;
            }
            for ((line, method), count) in written {
                if seen.get(&(file.as_str(), line, method.as_str())).map_or(0, BTreeSet::len) < count {
                    unreached.push(format!("{file}:{line} {method}"));
                }
            }
        }
        unreached
    }
}

fn collect(directory: &Path, into: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.insert(path.to_string_lossy().into_owned(), code_only(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\
fn push() {
    a.store(1, Relaxed);
    b.store(c.load(Acquire), Release);
}
fn pop() {
    a.store(2, Release);
}
mod tests {
    fn t() {
        a.load(SeqCst);
    }
}
";

    fn sources() -> Sources {
        Sources(BTreeMap::from([("src/a.rs".to_owned(), CODE.to_owned())]))
    }

    fn site(line: usize, column: usize, operation: &str) -> Site {
        format!("src/a.rs\t{line}\t{column}\t{operation}\tRelease").parse().unwrap()
    }

    #[test]
    fn ordinals_count_within_functions() {
        let sites = [site(3, 7, "store"), site(2, 7, "store"), site(3, 15, "load"), site(6, 7, "store")];
        let sources = sources();
        let names = sources.names(&sites);
        let short: Vec<String> = sites.iter().map(|site| names[site].to_string()).collect();
        assert_eq!(
            short,
            [
                "src/a.rs push store #2",
                "src/a.rs push store #1",
                "src/a.rs push load #1",
                "src/a.rs pop store #1"
            ]
        );
    }

    #[test]
    fn what_no_model_records_is_unreached() {
        let recorded = BTreeSet::from([site(2, 7, "store"), site(3, 7, "store")]);
        assert_eq!(sources().unreached(&recorded), ["src/a.rs:3 load", "src/a.rs:6 store"]);
    }

    #[test]
    fn tests_and_foreign_files_do_not_count() {
        assert!(sources().ships(&site(2, 7, "store")));
        assert!(!sources().ships(&site(10, 11, "load")));
        let foreign = Site { file: "src/sync/x.rs".to_owned(), ..site(1, 1, "load") };
        assert!(!sources().ships(&foreign));
    }
}
