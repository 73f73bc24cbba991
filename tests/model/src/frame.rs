//! Streams of length-prefixed messages, and how they come in pieces.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// The length in front of a message, in bytes.
pub const HEADER: usize = 4;

/// A stream, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The longest message allowed, by a byte.
    pub limit: u8,
    /// How each message is read, by its bits.
    pub way: u8,
    /// The lengths of the pieces that the stream comes in, over and over; all at once when there are none.
    pub pieces: Vec<u8>,
    /// The bytes.
    pub stream: Vec<u8>,
}

/// What is behind the last whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The next message lacks so many bytes, as far as can be told; all of its header when none has begun.
    Missing(usize),
    /// The next message has a length over the limit.
    TooLong(u32),
}

impl Case {
    const LIMITS: [u32; 8] = [0, 1, 5, 100, 255, 1000, 70_000, u32::MAX];

    /// The case that the bytes stand for. All bytes are valid.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut bytes = bytes.iter().copied();
        let mut byte = || bytes.next().unwrap_or(0);
        let (limit, way, pieces) = (byte(), byte(), byte() % 16);
        let pieces = (0..pieces).map(|_| byte()).collect();
        Self { limit, way, pieces, stream: bytes.collect() }
    }

    /// Bytes that stand for this case.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let pieces = &self.pieces[..self.pieces.len().min(15)];
        let count = u8::try_from(pieces.len()).unwrap_or(0);
        [&[self.limit, self.way, count], pieces, &self.stream].concat()
    }

    /// The longest message allowed.
    #[must_use]
    pub fn longest(&self) -> u32 {
        Self::LIMITS[usize::from(self.limit) % Self::LIMITS.len()]
    }

    /// The positions at which the stream is cut, and its end.
    #[must_use]
    pub fn cuts(&self) -> Vec<usize> {
        let mut at = 0;
        let sizes = self.pieces.iter().map(|size| usize::from(*size).max(1)).cycle();
        let inside = sizes.map_while(|size| {
            at += size;
            (at < self.stream.len()).then_some(at)
        });
        inside.chain([self.stream.len()]).collect()
    }

    /// The messages that are whole in the first `arrived` bytes, and what is behind them.
    #[must_use]
    pub fn messages(&self, arrived: usize) -> (Vec<&[u8]>, Rest) {
        let mut rest = &self.stream[..arrived];
        let mut messages = Vec::new();
        loop {
            let Some((header, behind)) = rest.split_first_chunk::<HEADER>() else {
                return (messages, Rest::Missing(HEADER - rest.len()));
            };
            let length = u32::from_be_bytes(*header);
            if length > self.longest() {
                return (messages, Rest::TooLong(length));
            }
            match behind.split_at_checked(length as usize) {
                Some((message, behind)) => {
                    messages.push(message);
                    rest = behind;
                }
                None => return (messages, Rest::Missing(length as usize - behind.len())),
            }
        }
    }
}

/// Streams of whole messages, some with a length over the limit or cut off at the end.
pub fn cases() -> impl Strategy<Value = Case> {
    let length = prop_oneof![
        4 => Just(0_u32),
        4 => Just(1),
        8 => 0..120_u32,
        2 => prop_oneof![Just(255), Just(256), Just(1000), Just(1001)],
        1 => Just(66_000),
    ];
    let pieces = prop_oneof![
        2 => Just(Vec::new()),
        2 => Just(vec![1]),
        6 => vec(any::<u8>(), 1..6),
        4 => vec(1..9_u8, 1..6),
    ];
    let behind = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..8)];
    (any::<u8>(), any::<u8>(), pieces, vec(length, 0..12), behind).prop_map(
        |(limit, way, pieces, lengths, behind)| {
            let mut stream = Vec::new();
            for length in lengths {
                stream.extend(length.to_be_bytes());
                stream.extend((0..length).map(|at| at.to_le_bytes()[0] ^ 0x5A));
            }
            stream.extend(behind);
            Case { limit, way, pieces, stream }
        },
    )
}

/// Cases with a name: the seeds of the fuzzer.
#[must_use]
pub fn scenarios() -> Vec<(&'static str, Case)> {
    let two = vec![0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 1, b'd'];
    let case = |limit, way, pieces: &[u8], stream: &[u8]| Case {
        limit,
        way,
        pieces: pieces.to_vec(),
        stream: stream.to_vec(),
    };
    vec![
        ("two_at_once", case(3, 0, &[], &two)),
        ("byte_by_byte", case(3, 1, &[1], &two)),
        ("header_split", case(3, 2, &[2, 7, 1], &two)),
        ("payload_split", case(3, 3, &[5, 3], &two)),
        ("empty_messages", case(3, 0, &[3], &[0; 12])),
        ("limit_reached", case(1, 1, &[], &[0, 0, 0, 1, b'x'])),
        ("over_the_limit", case(1, 0, &[], &[0, 0, 0, 2, b'x', b'y'])),
        ("over_the_limit_in_pieces", case(2, 5, &[1], &[0, 0, 0, 1, b'x', 0xFF, 0xFF, 0xFF, 0xFF])),
        ("longest_length", case(7, 2, &[4], &[0xFF, 0xFF, 0xFF, 0xFF, b'x'])),
        ("cut_off", case(3, 0, &[], &[0, 0, 0, 9, b'x'])),
        ("breaks_between", case(3, 4, &[], &[two.as_slice(), two.as_slice()].concat())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_as_they_arrive() {
        let case = Case { limit: 3, way: 0, pieces: vec![1], stream: vec![0, 0, 0, 2, 7, 8, 0, 0, 1, 0] };
        assert_eq!(case.messages(3), (vec![], Rest::Missing(1)));
        assert_eq!(case.messages(5), (vec![], Rest::Missing(1)));
        assert_eq!(case.messages(6), (vec![[7, 8].as_slice()], Rest::Missing(4)));
        assert_eq!(case.messages(10), (vec![[7, 8].as_slice()], Rest::TooLong(256)));
        assert_eq!(case.cuts(), (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn the_fuzzers_seeds_are_the_scenarios() {
        crate::seeds::check("frames", scenarios().into_iter().map(|(name, case)| (name, case.encode())));
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for (name, case) in scenarios() {
            assert_eq!(Case::decode(&case.encode()), case, "{name}");
        }
    }
}
