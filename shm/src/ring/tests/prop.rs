//! Properties with the counters that ship: the ring against a queue, and against a peer that stores anything.

use std::collections::VecDeque;

use linkpoll::sync::Ordering;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::super::{Kind, PushError, ends_at};
use crate::storage::witnessed::{Plan, Witnessed};
use crate::storage::{OwnWord as _, Storage as _, Word};
use crate::wake::Park;

const CAPACITY: usize = 256;

/// The number of cases is `PROPTEST_CASES`, or proptest's default. What has failed once is tried first.
fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_ring.txt");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

/// What the two sides do. Every operation makes sense in every state.
#[derive(Clone, Debug)]
enum Op {
    Push(u8, bool),
    Publish,
    Pop(u8),
    Settle,
    ParkConsumer,
    ParkProducer(u8),
    End,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![Just(0_u8), 1..=8_u8, Just(55), Just(56), Just(57), 0..=60_u8];
    prop_oneof![
        6 => (len.clone(), any::<bool>()).prop_map(|(len, in_place)| Op::Push(len, in_place)),
        3 => Just(Op::Publish),
        4 => (1..=8_u8).prop_map(Op::Pop),
        2 => Just(Op::Settle),
        1 => Just(Op::ParkConsumer),
        1 => len.prop_map(Op::ParkProducer),
        1 => Just(Op::End),
    ]
}

fn start() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX - 7), any::<u32>(), u32::MAX - 600..=u32::MAX].prop_map(|n| n & !7)
}

/// What the producer pushed as its `n`th record.
fn record(n: usize, len: usize) -> (Kind, Vec<u8>) {
    let kind = [Kind::Inline, Kind::Lent, Kind::Bulk][n % 3];
    (kind, (0..len).map(|at| (n * 31 + at).to_le_bytes()[0]).collect())
}

proptest! {
    #![proptest_config(config())]

    /// The ring is a queue whose newest records are not seen before they are published. Who may sleep has nothing to do,
    /// and is rung for at the first thing that there is to do; a full ring is full.
    #[test]
    fn a_ring_is_a_queue(start in start(), ops in vec(op(), 1..200)) {
        let (a, b) = Witnessed::<u32>::pair(Plan { capacity: CAPACITY, releases: 4, start });
        let ((mut producer, _), (_, mut consumer)) = (ends_at(a, start, start), ends_at(b, start, start));
        let (mut staged, mut queue) = (VecDeque::new(), VecDeque::new());
        let (mut pushed, mut ended, mut consumer_sleeps, mut producer_sleeps) = (0, false, false, false);
        for op in ops {
            match op {
                Op::Push(len, in_place) => {
                    let (kind, bytes) = record(pushed, usize::from(len));
                    let outcome = if in_place {
                        producer.reserve(bytes.len()).map(|mut room| {
                            room.bytes().copy_from_slice(&bytes);
                            room.commit(kind);
                        })
                    } else {
                        producer.push(kind, &bytes)
                    };
                    match outcome {
                        Ok(()) => {
                            prop_assert!(!ended && bytes.len() <= 56);
                            staged.push_back((kind, bytes));
                            pushed += 1;
                        }
                        Err(PushError::TooLong) => prop_assert!(!ended && bytes.len() > 56),
                        Err(PushError::Ended) => prop_assert!(ended),
                        Err(PushError::Full) => prop_assert!(producer.used() + 2 * (bytes.len() + 16) > CAPACITY),
                        Err(PushError::Violation(violation)) => prop_assert!(false, "{violation}"),
                    }
                }
                Op::Publish => {
                    let rung = producer.publish().is_due();
                    prop_assert!(rung || !consumer_sleeps || staged.is_empty(), "a sleeper is rung for");
                    consumer_sleeps &= !rung;
                    queue.append(&mut staged);
                }
                Op::Pop(count) => {
                    for _ in 0..count {
                        let popped = match consumer.pop().expect("the producer is honest") {
                            Some(record) => {
                                let mut bytes = vec![0; record.len()];
                                record.copy_to(0, &mut bytes);
                                Some((record.kind(), bytes))
                            }
                            None => None,
                        };
                        consumer_sleeps &= popped.is_none();
                        prop_assert_eq!(popped, queue.pop_front());
                    }
                }
                Op::Settle => producer_sleeps &= !consumer.settle().is_due(),
                Op::ParkConsumer => {
                    let Park { may_sleep, doorbell } = consumer.park().expect("the producer is honest");
                    prop_assert_eq!(may_sleep, queue.is_empty());
                    prop_assert!(!(producer_sleeps && may_sleep) || doorbell.is_due(), "a sleeper is rung for");
                    producer_sleeps &= !doorbell.is_due();
                    consumer_sleeps = may_sleep;
                }
                Op::ParkProducer(len) => {
                    let Park { may_sleep, doorbell } = producer.park(usize::from(len)).expect("the consumer is honest");
                    prop_assert!(doorbell.is_due() || !consumer_sleeps || staged.is_empty(), "a sleeper is rung for");
                    consumer_sleeps &= !doorbell.is_due();
                    queue.append(&mut staged);
                    prop_assert!(!(may_sleep && consumer_sleeps), "they never both sleep");
                    producer_sleeps = may_sleep;
                }
                Op::End => {
                    if !ended {
                        staged.push_back((Kind::End, Vec::new()));
                    }
                    producer.end();
                    ended = true;
                }
            }
        }
    }

    /// A peer that stores anything in its words and anything in its ring costs at most an error, which stays.
    #[test]
    fn a_hostile_peer_costs_an_error(
        start in start(),
        stores in vec((0..6_usize, prop_oneof![any::<u32>(), 0..600_u32], any::<bool>(), 0..32_usize, any::<u64>()), 1..60),
    ) {
        let (ours, mut theirs) = Witnessed::<u32>::pair(Plan { capacity: CAPACITY, releases: 4, start });
        let (mut producer, mut consumer) = ends_at(ours, start, start);
        let (mut producer_fault, mut consumer_fault) = (None, None);
        for (word, value, relative, at, header) in stores {
            let value = if relative { start.wrapping_add(value & !7) } else { value };
            // ORDERING: Relaxed, here and below: one thread plays both sides.
            theirs.own(Word::ALL[word]).store(value, Ordering::Relaxed);
            // Half of the heads are nearly right.
            let header = if relative { header & 0x0000_0007_0000_007F } else { header };
            theirs.put_header(at * 8, header);
            let mut popped = 0;
            let outcome = loop {
                match consumer.pop() {
                    Ok(Some(record)) => {
                        let mut bytes = vec![0; record.len()];
                        record.copy_to(0, &mut bytes);
                        popped += 1;
                        prop_assert!(popped <= CAPACITY / 8, "popping ends");
                    }
                    Ok(None) => break None,
                    Err(violation) => break Some(violation),
                }
            };
            prop_assert!(consumer_fault.is_none() || consumer_fault == outcome, "it is latched");
            consumer_fault = outcome;
            let _ = consumer.settle();
            prop_assert_eq!(consumer.park().err(), consumer_fault);
            let outcome = match producer.push(Kind::Inline, &[1; 40]) {
                Err(PushError::Violation(violation)) => Some(violation),
                _ => producer.park(40).err(),
            };
            prop_assert!(producer_fault.is_none() || producer_fault == outcome, "it is latched");
            producer_fault = outcome;
            prop_assert!(producer.used() <= CAPACITY);
        }
    }
}
