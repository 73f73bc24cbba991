//! The codec of length-prefixed messages against its reference: the input is a stream, and how it comes in pieces.
//!
//! Built without the fuzzer's flags this is a program that replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[path = "../../tests/framing/mod.rs"]
mod framing;

use linkpoll_model::frame::Case;

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
    let case = Case::decode(bytes);
    if let Err(fault) = framing::run(&case) {
        panic!("{fault}, in {case:?}");
    }
}
