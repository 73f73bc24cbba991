//! The bytes that connections carry: another sequence for each connection and direction.

use std::sync::LazyLock;

/// A prime, so that no block size divides it.
const PERIOD: usize = 65_521;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..PERIOD)
        .map(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[5]
        })
        .collect()
});

/// Whose bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer's.
    In,
    /// The handler's.
    Out,
}

fn start(conn: usize, direction: Direction) -> usize {
    conn * 1009 + if direction == Direction::In { 0 } else { 31_337 }
}

/// Runs over the bytes from position `from` on, `n` of them, in pieces.
fn pieces(start: usize, n: usize) -> impl Iterator<Item = &'static [u8]> {
    let mut at = start % PERIOD;
    let mut left = n;
    std::iter::from_fn(move || {
        let part = left.min(PERIOD - at);
        let piece = &TABLE[at..at + part];
        left -= part;
        at = (at + part) % PERIOD;
        (part > 0).then_some(piece)
    })
}

/// `n` bytes of a connection from position `from` on.
#[must_use]
pub fn bytes(conn: usize, direction: Direction, from: usize, n: usize) -> Vec<u8> {
    pieces(start(conn, direction) + from, n).collect::<Vec<_>>().concat()
}

/// Whether these are a connection's bytes from position `from` on.
#[must_use]
pub fn is_pattern(conn: usize, direction: Direction, from: usize, mut given: &[u8]) -> bool {
    pieces(start(conn, direction) + from, given.len()).all(|piece| {
        let (front, rest) = given.split_at(piece.len());
        given = rest;
        front == piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_out_of_place_is_noticed() {
        let given = bytes(3, Direction::In, 65_000, 2000);
        assert!(is_pattern(3, Direction::In, 65_000, &given));
        assert!(!is_pattern(3, Direction::In, 65_001, &given));
        assert!(!is_pattern(3, Direction::Out, 65_000, &given));
        assert!(!is_pattern(2, Direction::In, 65_000, &given));
        assert_eq!(given[1000..], bytes(3, Direction::In, 66_000, 1000));
    }
}
