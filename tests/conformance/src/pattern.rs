//! Bytes that tell when one is missing, doubled or misplaced.

use std::sync::LazyLock;

/// After so many bytes, a prime number, the pattern repeats.
const PERIOD: usize = 65_521;

static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect());

/// `n` bytes of a pattern that no block size divides, from position `from` on.
#[must_use]
pub fn pattern(from: usize, n: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n);
    while bytes.len() < n {
        let at = (from + bytes.len()) % PERIOD;
        let part = (PERIOD - at).min(n - bytes.len());
        bytes.extend_from_slice(&PATTERN[at..at + part]);
    }
    bytes
}
