//! The fuzzers' seeds are the named scenarios, as bytes.

use std::path::Path;

/// Checks the seeds of a target. When a form in bytes changes, `LINKPOLL_WRITE_SEEDS=1 cargo test -p linkpoll-model
/// seeds` writes them anew.
pub(crate) fn check(target: &str, scenarios: impl IntoIterator<Item = (&'static str, Vec<u8>)>) {
    let seeds = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target);
    for (name, bytes) in scenarios {
        let seed = seeds.join(name);
        if std::env::var_os("LINKPOLL_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(&seeds).unwrap();
            std::fs::write(&seed, &bytes).unwrap();
        }
        assert!(std::fs::read(&seed).is_ok_and(|found| found == bytes), "{} is out of date", seed.display());
    }
}
