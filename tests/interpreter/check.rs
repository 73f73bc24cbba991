//! Comparisons that say in a line what differs, however long the bytes are.

use std::collections::VecDeque;
use std::fmt::Debug;

/// What a step found: nothing, or a difference.
pub(super) type Checked<T = ()> = Result<T, String>;

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, real: T, expected: T) -> Checked {
    ensure(real == expected, || format!("{what}: {real:?}, and not {expected:?}"))
}

pub(super) fn same_bytes(what: &str, real: &[u8], expected: &[u8]) -> Checked {
    if real == expected {
        return Ok(());
    }
    let at = real.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(real.len().min(expected.len()));
    let around =
        |bytes: &[u8]| format!("{:02x?}", &bytes[at.min(bytes.len())..bytes.len().min(at.saturating_add(8))]);
    Err(format!(
        "{what}: {} bytes, and not {}; from byte {at} on {}, and not {}",
        real.len(),
        expected.len(),
        around(real),
        around(expected)
    ))
}

/// Compares pieces, none of which may be empty, with the beginning of a queue. Answers their total length.
pub(super) fn same_pieces<'a>(
    what: &str,
    pieces: impl Iterator<Item = &'a [u8]>,
    expected: &VecDeque<u8>,
) -> Checked<usize> {
    let (first, second) = expected.as_slices();
    let mut at = 0;
    for piece in pieces {
        ensure(!piece.is_empty(), || format!("{what}: an empty piece at byte {at}"))?;
        ensure(piece.len() <= expected.len() - at, || format!("{what}: more than {} bytes", expected.len()))?;
        let in_first = piece.len().min(first.len().saturating_sub(at));
        same_bytes(what, &piece[..in_first], first.get(at..at + in_first).unwrap_or_default())?;
        let from = (at + in_first).saturating_sub(first.len());
        let rest = &piece[in_first..];
        same_bytes(what, rest, second.get(from..from + rest.len()).unwrap_or_default())?;
        at += piece.len();
    }
    Ok(at)
}
