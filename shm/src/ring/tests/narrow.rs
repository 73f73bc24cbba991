//! Every value of every shared word, with counters of one byte: nothing that a peer can store makes this side panic, look
//! outside of the ring, or believe what cannot be.

use linkpoll::sync::Ordering;

use super::super::record::{HEADER, Head, PADDING, decode, encode, size};
use super::super::{Consumer, Kind, Producer, PushError, most};
use crate::storage::witnessed::{Plan, Witnessed};
use crate::storage::{Index as _, OwnWord as _, Storage as _, Word};
use crate::violation::Violation;
use crate::wake::{Doorbell, announce, publish};

const CAPACITY: usize = 64;

fn pair() -> (Witnessed<u8>, Witnessed<u8>) {
    Witnessed::pair(Plan { capacity: CAPACITY, releases: 4, start: 0 })
}

/// Multiples of 8 up to and including `last`.
fn eights(last: usize) -> impl Iterator<Item = usize> {
    (0..=last).step_by(8)
}

#[test]
fn a_consumer_believes_no_tail_but_a_possible_one() {
    let (ours, theirs) = pair();
    for head in eights(255) {
        for (held, seen) in eights(CAPACITY).flat_map(|held| eights(CAPACITY - held).map(move |s| (held, s)))
        {
            for tail in 0..=u8::MAX {
                let head = u8::of(head);
                let mut consumer =
                    Consumer::at(alias(&ours), head.plus(held.wrapping_neg()), head, head.plus(seen));
                // ORDERING: Relaxed, here and below: one thread plays both sides.
                theirs.own(Word::Tail).store(tail, Ordering::Relaxed);
                let fresh = tail.since(head);
                let possible = tail.is_multiple_of(8) && (seen..=CAPACITY - held).contains(&fresh);
                let expected = if possible { Ok(fresh) } else { Err(Violation::Tail) };
                assert_eq!(
                    consumer.poll(),
                    expected,
                    "head {head}, held back {held}, seen {seen}, tail {tail}"
                );
                assert_eq!(consumer.poll(), expected, "again");
            }
        }
    }
}

#[test]
fn a_producer_believes_no_head_but_a_possible_one() {
    let (ours, theirs) = pair();
    for old in eights(255) {
        for (published, staged) in eights(CAPACITY).flat_map(|p| eights(CAPACITY - p).map(move |s| (p, s))) {
            for head in 0..=u8::MAX {
                let old = u8::of(old);
                let told = old.plus(published);
                let mut producer = Producer::at(alias(&ours), old, told, told.plus(staged));
                theirs.own(Word::Head).store(head, Ordering::Relaxed);
                let possible = head.is_multiple_of(8) && head.since(old) <= published;
                let drained = head == told.plus(staged);
                let expected = if possible { Ok(drained) } else { Err(Violation::Head) };
                assert_eq!(producer.is_drained(), expected, "head {old}, {published}, {staged}, now {head}");
                assert!(producer.used() <= CAPACITY);
            }
        }
    }
}

#[test]
fn a_doorbell_is_due_exactly_when_a_threshold_is_passed() {
    let (ours, theirs) = pair();
    for old in [0, 1, 127, 128, 200, 255_u8] {
        for by in 0..=u8::MAX {
            let passed: Vec<u8> = (0..by).map(|n| old.wrapping_add(n)).collect();
            for at in 0..=u8::MAX {
                announce(&theirs.own(Word::WakeAt), at);
                let doorbell =
                    publish(&ours.own(Word::Tail), old, old.wrapping_add(by), &ours.peer(Word::WakeAt));
                let expected = if passed.contains(&at) { Doorbell::Due } else { Doorbell::Silent };
                assert_eq!(doorbell, expected, "{old} by {by}, {at}");
            }
        }
    }
}

#[test]
fn no_head_of_a_record_leads_outside_of_what_is_published() {
    let kinds = (0..9).chain([PADDING, PADDING ^ 1, u32::MAX]);
    let lengths = (0..=300).chain([u32::MAX, u32::MAX - 7, u32::MAX - 8, 1 << 31]);
    for (kind, length) in kinds.flat_map(|kind| lengths.clone().map(move |length| (kind, length))) {
        for available in eights(CAPACITY).skip(1) {
            for to_end in eights(CAPACITY).skip(1) {
                let header = encode(kind, length as usize);
                match decode(header, available, to_end, most(CAPACITY)) {
                    Ok((Head::Padding, skipped)) => {
                        assert!(skipped == to_end && skipped <= available && skipped < most(CAPACITY));
                    }
                    Ok((Head::Record { kind, len }, taken)) => {
                        assert_eq!((len, taken), (length as usize, size(len)));
                        assert!(taken <= available.min(to_end).min(most(CAPACITY)) && taken >= HEADER);
                        assert!(
                            taken.is_multiple_of(8) && (len == 0 || !matches!(kind, Kind::End | Kind::Void))
                        );
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

/// Any head at any place, and any tail: what is popped lies in the ring, and popping ends.
#[test]
fn popping_ends_whatever_stands_in_the_ring() {
    let (ours, mut theirs) = pair();
    for fill in (0..9).flat_map(|kind| (0..=20).map(move |len| encode(kind, len))).chain([encode(PADDING, 0)])
    {
        eights(CAPACITY - 8).for_each(|at| theirs.put_header(at, fill));
        for (head, tail) in eights(255).flat_map(|head| eights(CAPACITY).map(move |by| (head, head + by))) {
            theirs.own(Word::Tail).store(u8::of(tail), Ordering::Relaxed);
            let head = u8::of(head);
            let mut consumer = Consumer::at(alias(&ours), head, head, head);
            let mut records = 0;
            while let Ok(Some(record)) = consumer.pop() {
                let mut bytes = vec![0; record.len()];
                record.copy_to(0, &mut bytes);
                records += 1;
                assert!(records <= CAPACITY / 8);
            }
            let _ = consumer.settle();
            let _ = consumer.park();
        }
    }
}

/// From every state of an honest pair, every record that may be pushed into the ring fits once the consumer is asleep.
#[test]
fn a_drained_ring_takes_every_record() {
    let (ours, theirs) = pair();
    for tail in eights(255) {
        let tail = u8::of(tail);
        for held in eights(most(CAPACITY) - 8) {
            for len in 0..=most(CAPACITY) - HEADER {
                let head = tail.plus(held.wrapping_neg());
                theirs.own(Word::Head).store(head, Ordering::Relaxed);
                let mut producer = Producer::at(alias(&ours), head, tail, tail);
                assert_eq!(
                    producer.push(Kind::Inline, &vec![1; len]),
                    Ok(()),
                    "{tail}, {held} held back, {len}"
                );
            }
        }
    }
}

/// From every state, a producer that may sleep is rung for once half of the ring is free, and then has room.
#[test]
fn whoever_waits_for_space_hears_of_it() {
    let (ours, theirs) = pair();
    for tail in eights(255) {
        for used in eights(CAPACITY) {
            for len in 0..=most(CAPACITY) - HEADER {
                let (tail, head) = (u8::of(tail), u8::of(tail).plus(used.wrapping_neg()));
                theirs.own(Word::Head).store(head, Ordering::Relaxed);
                let mut producer = Producer::at(alias(&ours), head, tail, tail);
                if !producer.park(len).expect("the head is possible").may_sleep {
                    assert_eq!(producer.push(Kind::Inline, &vec![1; len]), Ok(()));
                    continue;
                }
                assert_eq!(producer.push(Kind::Inline, &vec![1; len]), Err(PushError::Full));
                // The consumer goes on from there, a quarter of the ring at a time, to the end.
                let (mut at, mut rings) = (head, 0);
                while at != tail {
                    let next = at.plus(most(CAPACITY).min(tail.since(at)));
                    let doorbell = publish(&theirs.own(Word::Head), at, next, &theirs.peer(Word::SpaceAt));
                    rings += usize::from(doorbell.is_due());
                    at = next;
                    if doorbell.is_due() {
                        let fresh = &mut Producer::at(alias(&ours), head, tail, tail);
                        assert!(fresh.is_drained().is_ok() && fresh.used() <= CAPACITY / 2);
                        assert_eq!(fresh.push(Kind::Inline, &vec![1; len]), Ok(()), "{tail} {used} {len}");
                    }
                }
                assert_eq!(rings, 1, "{tail} {used} {len}");
            }
        }
    }
}

#[expect(unsafe_code, reason = "one thread")]
fn alias(side: &Witnessed<u8>) -> Witnessed<u8> {
    // SAFETY: one after the other, on one thread.
    unsafe { side.alias() }
}
