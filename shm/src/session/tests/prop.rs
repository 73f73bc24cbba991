//! Bytes of every size and origin, slow receivers, and what stays behind: nothing.

use linkpoll::buffer::{Chain, Segment};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::super::{Session, SessionError};
use super::{bytes, established, options, receive, written};
use crate::handshake::Options;

/// The number of cases is `PROPTEST_CASES`, or proptest's default. What has failed once is tried first.
fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_session.txt");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

/// What the two sides do. Every operation makes sense in every state.
#[derive(Clone, Debug)]
enum Op {
    /// Adds bytes to what is to be sent, from the heap or from the arena, as one piece or cut after so many bytes.
    Write {
        len: usize,
        in_arena: bool,
        cut: usize,
        keep: bool,
    },
    Flush,
    Receive(usize),
    ListenSender,
    ListenReceiver,
    ParkSender,
    ParkReceiver,
    DropKept,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![
        6 => 1..=3000_usize,
        2 => 2040..=2060_usize,
        4 => 4000..=20_000_usize,
        1 => 65_530..=65_540_usize,
        1 => 1..=300_000_usize,
    ];
    let write = (len, any::<bool>(), 0..=5000_usize, any::<bool>())
        .prop_map(|(len, in_arena, cut, keep)| Op::Write { len, in_arena, cut, keep });
    prop_oneof![
        8 => write,
        6 => Just(Op::Flush),
        6 => (1..=100_000_usize).prop_map(Op::Receive),
        2 => Just(Op::ListenSender),
        2 => Just(Op::ListenReceiver),
        1 => Just(Op::ParkSender),
        1 => Just(Op::ParkReceiver),
        1 => Just(Op::DropKept),
    ]
}

struct Stream {
    sender: Session,
    receiver: Session,
    unsent: Chain,
    kept: Vec<Segment>,
    written: usize,
    sent: usize,
    received: usize,
}

impl Stream {
    fn new(ring: u32, arena: u32) -> Self {
        let (a, b) = established(&Options { ring, ..options() }, &Options { arena, ..options() });
        Self {
            sender: Session::new(a).unwrap(),
            receiver: Session::new(b).unwrap(),
            unsent: Chain::new(),
            kept: Vec::new(),
            written: 0,
            sent: 0,
            received: 0,
        }
    }

    fn perform(&mut self, op: &Op) -> Result<(), SessionError> {
        match *op {
            Op::Write { len, in_arena, cut, keep } => {
                let at = self.written;
                let tail = if in_arena { self.sender.allocate(len)? } else { None };
                let mut segment = match tail {
                    Some(tail) => written(tail, at, len),
                    None => Segment::copy_of(&bytes(at, len)),
                };
                if keep {
                    self.kept.push(segment.clone());
                }
                if cut > 0 && cut < len {
                    // Two pieces that are not neighbours in one block.
                    let first = segment.split_to(cut);
                    self.unsent.push(Segment::copy_of(&first));
                }
                self.unsent.push(segment);
                self.written += len;
            }
            Op::Flush => self.sent += self.sender.send_chain(&mut self.unsent)?,
            Op::Receive(budget) => self.received += receive(&mut self.receiver, self.received, budget)?,
            Op::ListenSender => drop(self.sender.listen()?),
            Op::ListenReceiver => drop(self.receiver.listen()?),
            Op::ParkSender => {
                self.sender.collect()?;
                let _ = self.sender.park_for_releases()?;
                let unsent = self.unsent.len();
                let _ = self.sender.park(true, (unsent > 0).then_some(unsent))?;
            }
            Op::ParkReceiver => drop(self.receiver.park(true, None)?),
            Op::DropKept => self.kept.clear(),
        }
        Ok(())
    }

    /// Each byte of the arena is free, or in a block that somebody on this side has or that the peer has on loan.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let (total, free, mut held, _) = self.sender.lending.census();
        prop_assert_eq!(held.len(), self.sender.lending.out());
        held.extend(self.kept.iter().chain(self.unsent.segments()).cloned());
        let mut blocks: Vec<Segment> = Vec::new();
        for segment in held.into_iter().filter(|it| self.sender.lending.place(it).is_some()) {
            if !blocks.iter().any(|block| block.shares_block_with(&segment)) {
                blocks.push(segment);
            }
        }
        let used: usize = blocks.iter().map(|segment| segment.block().capacity()).sum();
        prop_assert_eq!(total, free + used);
        drop(blocks);
        let counters = self.sender.counters();
        prop_assert_eq!(self.written, self.sent + self.unsent.len());
        prop_assert!(self.received <= self.sent);
        prop_assert_eq!(counters.loans_given - counters.loans_returned, self.sender.lending.out() as u64);
        prop_assert!(self.sender.settled() <= self.sender.referred());
        prop_assert!(counters.arenas <= 8);
        Ok(())
    }
}

proptest! {
    #![proptest_config(config())]

    /// O-1: a session is a queue of bytes, whatever lies in an arena and whatever does not; each byte of the arena is free,
    /// held on this side, or on loan; and when all is received and nothing kept, all of it is free.
    #[test]
    fn a_session_is_a_queue_and_all_its_memory_comes_back(
        ops in vec(op(), 1..60),
        ring in prop_oneof![Just(4096_u32), Just(16 << 10), Just(64 << 10)],
        arena in prop_oneof![Just(0_u32), Just(1 << 20), Just(8 << 20)],
    ) {
        let mut stream = Stream::new(ring, arena);
        for op in &ops {
            stream.perform(op).map_err(|error| TestCaseError::fail(error.to_string()))?;
            stream.check()?;
        }
        let mut idle = 0;
        while idle < 3 {
            let before = (stream.sent, stream.received);
            for op in [Op::Flush, Op::Receive(200_000), Op::ListenReceiver, Op::ListenSender] {
                stream.perform(&op).map_err(|error| TestCaseError::fail(error.to_string()))?;
            }
            idle = if before == (stream.sent, stream.received) { idle + 1 } else { 0 };
        }
        prop_assert_eq!(stream.received, stream.written);
        for op in [Op::ParkReceiver, Op::ParkSender, Op::DropKept] {
            stream.perform(&op).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
        prop_assert_eq!(stream.sender.lending.out(), 0);
        prop_assert_eq!(stream.sender.referred(), stream.sender.settled());
        let (total, free, lent, copied) = stream.sender.lending.census();
        prop_assert_eq!((total, lent.len(), copied), (free, 0, 0));
    }
}
