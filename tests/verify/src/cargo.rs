//! Calls of Cargo: which flags, which directories, which host.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::step::{Context as _, Failure, Result, Shell};

/// The longest that one call of Cargo, with the tests it runs, may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The root of the workspace: two directories above this package, as Cargo states it when it runs the program.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_owned)
}

/// A directory of our own in the target directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join(name)
}

/// `cargo` with `words`, in the root of the workspace, without the variables that the outer Cargo set for us.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command.current_dir(root()).args(words);
    command
}

/// Adds a target directory of its own to a call of Cargo, so that other flags do not evict what is built there.
pub(crate) fn with_target_dir(command: &mut Command, name: &str) {
    command.arg("--target-dir").arg(scratch(name));
}

/// Adds compiler flags to those that the user's environment asks for. A user's `RUSTFLAGS` is kept, but cannot
/// replace ours: the encoded form takes precedence over it and over every configuration file.
pub(crate) fn with_rustflags(command: &mut Command, extra: &[&str]) {
    let encoded = env::var("CARGO_ENCODED_RUSTFLAGS").ok();
    let plain = env::var("RUSTFLAGS").ok();
    command.env("CARGO_ENCODED_RUSTFLAGS", combine(encoded.as_deref(), plain.as_deref(), extra));
    command.env_remove("RUSTFLAGS");
}

fn combine(encoded: Option<&str>, plain: Option<&str>, extra: &[&str]) -> String {
    let given: Vec<&str> = match (encoded, plain) {
        (Some(encoded), _) => encoded.split('\x1f').filter(|flag| !flag.is_empty()).collect(),
        (None, Some(plain)) => plain.split_whitespace().collect(),
        (None, None) => Vec::new(),
    };
    given.into_iter().chain(extra.iter().copied()).collect::<Vec<_>>().join("\x1f")
}

/// Makes flags possible that a stable compiler refuses: the sanitizers.
pub(crate) fn with_unstable_flags(command: &mut Command) {
    command.env("RUSTC_BOOTSTRAP", "1");
}

/// The host's target triple.
///
/// # Errors
/// When the compiler cannot be run or does not say.
pub(crate) fn host(shell: &Shell) -> Result<String> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("-vV");
    let version = shell.run(rustc, LIMIT)?.output;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure("`rustc -vV` names no host".to_owned()))
}

/// What Cargo knows of the packages of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) features: std::collections::BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A direct dependency of any kind.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
}

/// Reads the workspace's manifests.
///
/// # Errors
/// When Cargo cannot.
pub(crate) fn metadata(shell: &Shell) -> Result<Metadata> {
    let output = shell.run(cargo(&["metadata", "--no-deps", "--format-version", "1"]), LIMIT)?.output;
    let json = output.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(json).context("cargo metadata")
}

/// Whether the compiler warned in this output. Cargo repeats the warnings of what is already built.
pub(crate) fn has_warnings(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("warning: ") && line.contains(" generated "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_flags_come_on_top_of_the_users() {
        assert_eq!(combine(None, None, &["--cfg", "x"]), "--cfg\x1fx");
        assert_eq!(combine(None, Some("-C opt-level=1 "), &["-Dx"]), "-C\x1fopt-level=1\x1f-Dx");
        assert_eq!(combine(Some("-A\x1fa b"), Some("ignored"), &["-Dx"]), "-A\x1fa b\x1f-Dx");
        assert_eq!(combine(Some(""), Some("ignored"), &["-Dx"]), "-Dx");
    }

    #[test]
    fn warnings_are_recognised() {
        assert!(has_warnings("warning: unused\nwarning: `x` (lib) generated 1 warning\n"));
        assert!(!has_warnings(
            "   Compiling x\nwarning: profiles for the non root package will be ignored\n"
        ));
    }
}
