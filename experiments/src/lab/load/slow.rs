//! Which requests are slow: both ends work it out from the request's number and its connection's, which stand at the
//! beginning of its payload.

/// The bytes of a payload that it takes to tell.
pub(crate) const STAMP: usize = 16;

/// Whether a request is slow, where one of `every` is. At any time about as many connections are at a slow one.
pub(crate) fn is_slow(request: u64, connection: u64, every: u64) -> bool {
    request.wrapping_add(connection).is_multiple_of(every)
}

/// Whether the request is slow that begins with these bytes.
pub(crate) fn is_slow_payload(stamp: [u8; STAMP], every: u64) -> bool {
    let number = |half: &[u8]| half.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (request, connection) = stamp.split_at(STAMP / 2);
    is_slow(number(request), number(connection), every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::pattern::{Cursor, Pattern};

    #[test]
    fn both_ends_find_the_same_requests_slow() {
        let pattern = Pattern::new(64);
        for connection in 0..30 {
            for number in [0, 1, 19, 20, 399, 70_000] {
                let mut frame = [0; 68];
                pattern.fill(connection, Cursor { frame: number, offset: 0 }, number + 1, &mut frame);
                let stamp: [u8; STAMP] = frame[4..4 + STAMP].try_into().unwrap();
                assert_eq!(is_slow_payload(stamp, 20), is_slow(number, connection as u64, 20));
            }
        }
        assert_eq!((0..400).filter(|number| is_slow(*number, 3, 20)).count(), 20);
    }
}
