//! Tests that cannot run here say so.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says loudly that nothing was tested.
pub(crate) fn skip(name: &str, reason: &str) {
    let line = format!("SKIP: {name}: {reason}");
    println!("{line}");
    if let Some(path) = std::env::var_os("LINKPOLL_SKIPS") {
        let mut file =
            OpenOptions::new().append(true).create(true).open(path).expect("the record can be opened");
        writeln!(file, "{line}").expect("the record can be written");
    }
}
