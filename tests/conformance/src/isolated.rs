//! Tests that change something of the whole process.

use std::process::{Command, Stdio};

/// Names the one test that a process was started for.
const ONLY: &str = "LINKPOLL_ISOLATED_TEST";

/// Runs `body`, the body of the test `name` of `module`, in a process of its own.
///
/// # Panics
/// When the test fails there.
pub fn isolated(module: &str, name: &str, body: impl FnOnce()) {
    let path = match module.split_once("::") {
        Some((_, inner)) => format!("{inner}::{name}"),
        None => name.to_owned(),
    };
    if std::env::var(ONLY).is_ok_and(|only| only == path) {
        return body();
    }
    let program = std::env::current_exe().expect("the test's own program");
    let output = Command::new(program)
        .args(["--exact", &path, "--nocapture", "--test-threads=1"])
        .env(ONLY, &path)
        .stdin(Stdio::null())
        .output()
        .expect("the test's own program runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{path} in a process of its own:\n{text}");
}
