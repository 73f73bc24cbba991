//! The bytes that programs write.

use std::sync::LazyLock;

/// A byte that no pattern contains: a search for it runs to the end.
pub const NEVER: u8 = 0xFF;

/// A prime, so that blocks, whose sizes are powers of two, never begin twice at the same place of the pattern soon.
const PERIOD: usize = 65_521;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(PERIOD);
    for _ in 0..PERIOD {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state.to_le_bytes()[3] % NEVER);
    }
    bytes
});

/// An endless sequence of bytes that looks random, so that a byte out of place is noticed.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    at: usize,
}

impl Pattern {
    /// The next `n` bytes.
    pub fn next(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n);
        while bytes.len() < n {
            let part = (n - bytes.len()).min(PERIOD - self.at);
            bytes.extend_from_slice(&BYTES[self.at..self.at + part]);
            self.at = (self.at + part) % PERIOD;
        }
        bytes
    }
}
