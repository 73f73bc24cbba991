//! What was skipped, and whether it may be.
//!
//! A test that must skip something (for want of root, of a kernel feature) appends a line
//! `SKIP: <name>: <reason>` to the file that the environment variable `LINKPOLL_SKIPS` names. Skips are always
//! shown. As root on a CI machine there is little excuse: there a skip must stand in `tests/skips.toml`, with a
//! reason.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::cargo;
use crate::step::{Context as _, Failure, Request, Result, Shell};

const LIST: &str = "tests/skips.toml";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Skip {
    name: String,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    #[serde(default)]
    skip: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    reason: String,
}

fn record() -> PathBuf {
    cargo::scratch("verify").join("skips.txt")
}

/// Starts the record anew.
pub(crate) fn forget() {
    // Where there is none there is nothing to forget.
    let _ = fs::remove_file(record());
}

/// Lets the tests that `command` runs report their skips.
pub(crate) fn collect(command: &mut Command) {
    command.env("LINKPOLL_SKIPS", record());
}

/// Shows what was skipped since [`forget`].
pub(crate) fn announce() {
    for skip in reported() {
        println!("SKIP: {}: {}", skip.name, skip.reason);
    }
}

fn reported() -> BTreeSet<Skip> {
    fs::read_to_string(record()).unwrap_or_default().lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Skip> {
    let text = line.strip_prefix("SKIP: ").unwrap_or(line).trim();
    let (name, reason) = text.split_once(": ").unwrap_or((text, "no reason given"));
    (!text.is_empty()).then(|| Skip { name: name.to_owned(), reason: reason.to_owned() })
}

/// Fails on a skip that is not listed, as root on a CI machine; elsewhere only counts them.
pub(crate) fn step(shell: &Shell, _: &Request) -> Result<String> {
    let allowed = allowed(Path::new(LIST))?;
    let reported = reported();
    let unlisted: Vec<&Skip> =
        reported.iter().filter(|s| allowed.skip.iter().all(|entry| entry.name != s.name)).collect();
    reported.iter().for_each(|skip| shell.detail(&format!("SKIP: {}: {}", skip.name, skip.reason)));
    let strict = is_root() && std::env::var("CI").is_ok_and(|ci| ci == "true");
    if strict && !unlisted.is_empty() {
        let names: Vec<&str> = unlisted.iter().map(|skip| skip.name.as_str()).collect();
        return Err(Failure(format!("skipped as root, but not in {LIST}: {}", names.join(", "))));
    }
    Ok(format!("{} skipped, {} of them not in {LIST}", reported.len(), unlisted.len()))
}

fn allowed(path: &Path) -> Result<Allowed> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Allowed::default()),
        Err(error) => return Err(error).context(path.display()),
    };
    let allowed: Allowed = toml::from_str(&text).context(path.display())?;
    match allowed.skip.iter().find(|entry| entry.reason.trim().is_empty()) {
        Some(entry) => Err(Failure(format!("{}: {} has no reason", path.display(), entry.name))),
        None => Ok(allowed),
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // KERNEL: proc(5): real, effective, saved and file-system user id.
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_may_be_named_by_a_path() {
        let skip = |name: &str, reason: &str| Some(Skip { name: name.to_owned(), reason: reason.to_owned() });
        assert_eq!(parse("SKIP: a::b: needs root: really"), skip("a::b", "needs root: really"));
        assert_eq!(parse("a::b: needs root"), skip("a::b", "needs root"));
        assert_eq!(parse("SKIP: a::b"), skip("a::b", "no reason given"));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_list_that_is_absent_allows_nothing() {
        assert!(allowed(Path::new("/nonexistent/skips.toml")).unwrap().skip.is_empty());
    }
}
