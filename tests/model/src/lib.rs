//! What the tests of linkpoll share and what must not depend on it: operations, reference models and strategies.
//!
//! Everything here is plain data. A program is a list of operations, each *total*: sizes and indices are taken
//! relative to what is there when the operation runs, so every list of operations, and every string of bytes that
//! is decoded into one, means something. Property tests generate programs, fuzzers mutate their bytes, and an
//! interpreter elsewhere runs them against the real thing and the reference side by side.

pub mod buffer;
pub mod conn;
pub mod frame;
#[cfg(test)]
mod seeds;
