//! Connections against their promises: the input is a program of what peers, kernel and handlers do.
//!
//! Built without the fuzzer's flags this is a program that replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[path = "../../tests/scripted/mod.rs"]
mod scripted;

use linkpoll_model::conn::Program;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        check(&std::fs::read(&path)?);
        println!("{}: keeps its promises", path.display());
    }
    Ok(())
}

fn check(bytes: &[u8]) {
    let program = Program::decode(bytes);
    if let Err(fault) = scripted::run(&program, 1) {
        panic!("{fault}, in {program:?}");
    }
}
