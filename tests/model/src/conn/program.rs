//! Lists of operations, from bytes and from proptest.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use super::Op;

/// How the loop of a program is set up, by a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup(pub u8);

impl Setup {
    /// Edge-triggered.
    #[must_use]
    pub fn edge(self) -> bool {
        self.0 & 1 != 0
    }

    /// The high-water mark, and the low one.
    #[must_use]
    pub fn marks(self) -> (usize, usize) {
        if self.0 & 2 == 0 { (4096, 1024) } else { (256 << 10, 64 << 10) }
    }

    /// The high-water mark of unread bytes, and the low one.
    #[must_use]
    pub fn unread_marks(self) -> (usize, usize) {
        if self.0 & 32 == 0 { (1 << 20, 256 << 10) } else { (5000, 1000) }
    }

    /// The most bytes received from one connection in one turn.
    #[must_use]
    pub fn budget(self) -> usize {
        if self.0 & 4 == 0 { 256 << 10 } else { 1 }
    }

    /// Whether a connection lingers no time at all, rather than as long as it takes.
    #[must_use]
    pub fn lingers_not(self) -> bool {
        self.0 & 8 != 0
    }

    /// How long a connection may be idle, a message may take, a peer may take nothing, and a connection may linger,
    /// in nanoseconds; none for ever.
    #[must_use]
    pub fn limits(self) -> Limits {
        const MILLISECOND: u64 = 1_000_000;
        let on = self.0 & 64 != 0;
        let after = |n: u64| on.then_some(n * MILLISECOND);
        let linger = if self.lingers_not() { 0 } else { 3600 * 1000 * MILLISECOND };
        Limits { idle: after(300), read: after(100), write: after(200), linger }
    }

    /// Whether a drain is over at once, rather than when everybody is done.
    #[must_use]
    pub fn drains_not(self) -> bool {
        self.0 & 16 != 0
    }
}

/// How long things may take, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// No byte goes either way.
    pub idle: Option<u64>,
    /// A message that has begun is not whole.
    pub read: Option<u64>,
    /// The peer takes nothing of what is owed to it.
    pub write: Option<u64>,
    /// The peer does not end.
    pub linger: u64,
}

/// Operations in a row, and the loop they run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The loop.
    pub setup: Setup,
    /// What is done.
    pub ops: Vec<Op>,
}

impl Program {
    /// More operations than this are not read from bytes.
    pub const LONGEST: usize = 200;

    /// The program that the bytes stand for: one byte for the loop, then the operations. All bytes are valid.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (setup, mut rest) = bytes.split_first().unwrap_or((&0, &[]));
        let ops = std::iter::from_fn(|| Op::decode(&mut rest)).take(Self::LONGEST).collect();
        Self { setup: Setup(*setup), ops }
    }

    /// Bytes that stand for this program.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.setup.0];
        self.ops.iter().for_each(|op| op.encode(&mut bytes));
        bytes
    }
}

/// All programs of at most `longest` operations.
pub fn programs(longest: usize) -> impl Strategy<Value = Program> {
    let ops = vec(op(), 0..=longest);
    (any::<u8>(), any::<u8>(), ops).prop_map(|(setup, behaviour, mut ops)| {
        ops.insert(0, Op::Connect { behaviour });
        Program { setup: Setup(setup), ops }
    })
}

/// One operation. It goes through its bytes, so what fails here can be given to the fuzzer, and the other way round.
fn op() -> impl Strategy<Value = Op> {
    let total: u32 = Op::WEIGHTS.iter().sum();
    (0..total, any::<[u8; 4]>()).prop_map(|(ticket, [a, b, c, d])| {
        let mut left = ticket;
        let before = |weight: &&u32| left.checked_sub(**weight).inspect(|n| left = *n).is_some();
        let code = u8::try_from(Op::WEIGHTS.iter().take_while(before).count()).unwrap_or_default();
        Op::decode(&mut [code, a, b, c, d].as_slice()).unwrap_or(Op::Turn {})
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_what_is_encoded_is_decoded_again(program in programs(50)) {
            prop_assert_eq!(Program::decode(&program.encode()), program);
        }
    }

    #[test]
    fn every_string_of_bytes_is_a_program() {
        assert!(Program::decode(&[]).ops.is_empty());
        assert_eq!(Program::decode(&[12; 10_000]).ops.len(), Program::LONGEST);
    }
}
