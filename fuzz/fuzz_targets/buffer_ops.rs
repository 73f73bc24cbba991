//! The buffers against their reference: the input is a program of operations.
//!
//! Built without the fuzzer's flags this is a program that replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[path = "../../tests/interpreter/mod.rs"]
mod interpreter;

use linkpoll_model::buffer::Program;

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
    let program = Program::decode(bytes);
    if let Err(difference) = interpreter::run(&program) {
        panic!("{difference}, in {program:?}");
    }
}
