//! Buffers against others.
fn main() {}
