//! Lists of operations, from bytes and from proptest.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use super::{Limit, Op, Operand};

/// Operations in a row, and the pool they run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// How much the pool may map.
    pub limit: Limit,
    /// What is done.
    pub ops: Vec<Op>,
}

impl Program {
    /// More operations than this are not read from bytes.
    pub const LONGEST: usize = 400;

    /// The program that the bytes stand for: one byte for the limit, then the operations. All bytes are valid.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (limit, mut rest) = bytes.split_first().unwrap_or((&0, &[]));
        let ops = std::iter::from_fn(|| Op::decode(&mut rest)).take(Self::LONGEST).collect();
        Self { limit: Limit::from_byte(*limit), ops }
    }

    /// Bytes that stand for this program.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.limit.byte()];
        self.ops.iter().for_each(|op| op.encode(&mut bytes));
        bytes
    }
}

/// All programs of at most `longest` operations; most run with a pool that never fills.
pub fn programs(longest: usize) -> impl Strategy<Value = Program> {
    (0..4, any::<u8>(), vec(op(), 0..=longest)).prop_map(|(dice, byte, ops)| {
        let limit = Limit(if dice == 3 { byte } else { 0 });
        Program { limit, ops }
    })
}

/// One operation. It goes through its bytes, so what fails here can be given to the fuzzer, and the other way round.
fn op() -> impl Strategy<Value = Op> {
    let total: u32 = Op::WEIGHTS.iter().sum();
    (0..total, any::<[u8; 4]>()).prop_map(|(ticket, [a, b, c, d])| {
        let mut left = ticket;
        let code = Op::WEIGHTS
            .iter()
            .take_while(|weight| left.checked_sub(**weight).inspect(|n| left = *n).is_some());
        let code = u8::try_from(code.count()).unwrap_or_default();
        Op::decode(&mut [code, a, b, c, d].as_slice()).unwrap_or(Op::Take {})
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
        assert_eq!(Program::decode(&[7; 100_000]).ops.len(), Program::LONGEST);
    }

    #[test]
    fn every_operation_is_generated() {
        let codes = u8::try_from(Op::WEIGHTS.len()).unwrap();
        let names: std::collections::BTreeSet<_> =
            (0..codes).filter_map(|code| Op::decode(&mut [code].as_slice())).map(Op::name).collect();
        assert_eq!(names.len(), Op::WEIGHTS.len());
        assert!(Op::WEIGHTS.iter().all(|weight| *weight > 0));
    }
}
