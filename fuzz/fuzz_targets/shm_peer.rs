//! A session of shared memory against a peer that owns every byte it may write: the input is a script for both sides.
//!
//! Built without the fuzzer's flags this is a program that replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[path = "../../shm/tests/script/mod.rs"]
mod script;

use std::os::fd::{AsFd as _, AsRawFd as _};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        check(&std::fs::read(&path)?);
        println!("{}: agrees", path.display());
    }
    Ok(())
}

fn check(bytes: &[u8]) {
    let before = lowest_free();
    script::play(bytes);
    assert_eq!(lowest_free(), before, "a descriptor has stayed behind");
}

/// The number that the next descriptor would have.
fn lowest_free() -> i32 {
    std::io::stderr().as_fd().try_clone_to_owned().expect("a descriptor").as_raw_fd()
}
