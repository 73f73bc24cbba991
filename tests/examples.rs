//! The examples check themselves; here each is run. `cargo test` builds them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs an example that was built along with this test.
fn run(name: &str) {
    let test = std::env::current_exe().expect("a program has a path");
    let built: PathBuf =
        test.ancestors().nth(2).expect("it lies under the target directory").join("examples");
    let status = Command::new(built.join(name)).stdin(Stdio::null()).status();
    let status =
        status.unwrap_or_else(|error| panic!("{name}: {error}; is it built? `cargo build --examples`"));
    assert!(status.success(), "{name}: {status}");
}

macro_rules! examples {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )+
    };
}

examples! {
    client,
    graceful,
    service,
}
