mod narrow;
mod prop;

use std::collections::VecDeque;
use std::io::Read as _;

use linkpoll::sync::Ordering;

use super::*;
use crate::storage::witnessed::{Plan, Witnessed};
use crate::storage::{OwnWord as _, Word};
use crate::violation::Violation;
use crate::wake::Doorbell;

type Side<I> = (Producer<Witnessed<I>>, Consumer<Witnessed<I>>);

fn sides<I: Index>(capacity: usize, start: I) -> (Side<I>, Side<I>) {
    let (a, b) = Witnessed::pair(Plan { capacity, releases: 4, start });
    (ends_at(a, start, start), ends_at(b, start, start))
}

fn bytes_of<S: Storage>(record: &Record<'_, S>) -> Vec<u8> {
    let mut bytes = vec![0; record.len()];
    record.copy_to(0, &mut bytes);
    bytes
}

#[test]
fn what_is_pushed_arrives_once_it_is_published() {
    let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, 0);
    producer.push(Kind::Inline, b"hello").unwrap();
    assert!(consumer.pop().unwrap().is_none(), "it is staged");
    assert_eq!(producer.publish(), Doorbell::Due, "nobody has looked yet");
    let record = consumer.pop().unwrap().unwrap();
    assert_eq!((record.kind(), bytes_of(&record)), (Kind::Inline, b"hello".to_vec()));
    let mut text = String::new();
    record.reader().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(consumer.pop().unwrap().is_none());
}

#[test]
fn records_come_in_order_round_after_round() {
    for start in [0, u32::MAX - 70, 1 << 31] {
        let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, start & !7);
        let (mut sent, mut received) = (0_u32, 0_u32);
        while received < 3000 {
            loop {
                let bytes: Vec<u8> = (0..sent % 57).map(|n| (sent + n).to_le_bytes()[0]).collect();
                match producer.push(Kind::Inline, &bytes) {
                    Ok(()) => sent += 1,
                    Err(PushError::Full) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            let _ = producer.publish();
            while let Some(record) = consumer.pop().unwrap() {
                let expected: Vec<u8> = (0..received % 57).map(|n| (received + n).to_le_bytes()[0]).collect();
                assert_eq!(bytes_of(&record), expected);
                received += 1;
            }
            let _ = consumer.settle();
        }
    }
}

#[test]
fn a_record_is_written_in_place_and_may_be_shorter_than_its_room() {
    let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, 0);
    let mut room = producer.reserve(20).unwrap();
    room.bytes()[..3].copy_from_slice(b"abc");
    room.commit_first(3, Kind::Lent);
    drop(producer.reserve(20).unwrap());
    producer.push(Kind::Inline, b"").unwrap();
    let _ = producer.publish();
    let record = consumer.pop().unwrap().unwrap();
    assert_eq!((record.kind(), bytes_of(&record)), (Kind::Lent, b"abc".to_vec()));
    let record = consumer.pop().unwrap().unwrap();
    assert!(record.is_empty());
    assert_eq!(consumer.poll(), Ok(0));
}

#[test]
fn what_is_taken_back_is_never_seen() {
    for offset in (0..256).step_by(8) {
        let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, offset);
        producer.push(Kind::Inline, b"published").unwrap();
        let _ = producer.publish();
        producer.push(Kind::Inline, b"staged").unwrap();
        let keep = producer.staged();
        for round in 0..9 {
            let pushed = (0..9).filter(|_| producer.push(Kind::Part, &vec![9; round * 6]).is_ok()).count();
            assert!(pushed > 0);
            producer.unstage(keep);
        }
        let _ = producer.publish();
        producer.push(Kind::Inline, b"behind").unwrap();
        let _ = producer.publish();
        for expected in [&b"published"[..], b"staged", b"behind"] {
            assert_eq!(bytes_of(&consumer.pop().unwrap().unwrap()), expected);
        }
        assert!(consumer.pop().unwrap().is_none());
    }
}

#[test]
fn the_longest_record_always_fits_into_a_drained_ring() {
    // Every position, with everything that the consumer may hold back.
    for offset in (0..256).step_by(8) {
        let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, offset);
        let longest = vec![7; producer.longest()];
        for round in 0..20 {
            match producer.push(Kind::Inline, &longest) {
                Ok(()) => {}
                Err(PushError::Full) => {
                    let _ = producer.publish();
                    while consumer.pop().unwrap().is_some() {
                        let _ = consumer.settle();
                    }
                    producer.push(Kind::Inline, &longest).unwrap_or_else(|e| panic!("{offset} {round}: {e}"));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn too_much_is_refused_and_the_end_always_fits() {
    let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, 0);
    assert_eq!(producer.longest(), 56);
    assert_eq!(producer.push(Kind::Inline, &[0; 57]), Err(PushError::TooLong));
    let mut pushed = 0;
    while producer.push(Kind::Inline, b"").is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, 31);
    producer.end();
    producer.end();
    assert_eq!(producer.push(Kind::Inline, b""), Err(PushError::Ended));
    let _ = producer.publish();
    for _ in 0..pushed {
        assert_eq!(consumer.pop().unwrap().unwrap().kind(), Kind::Inline);
    }
    assert!(!consumer.is_ended());
    assert_eq!(consumer.pop().unwrap().unwrap().kind(), Kind::End);
    assert!(consumer.is_ended() && consumer.pop().unwrap().is_none());
    assert_eq!(producer.is_drained(), Ok(false), "the head is published late");
    let _ = consumer.publish();
    assert_eq!(producer.is_drained(), Ok(true));
}

#[test]
fn a_consumer_that_does_not_sleep_is_not_rung_for() {
    let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, 0);
    let mut rings = 0;
    for _ in 0..1000 {
        producer.push(Kind::Inline, b"ping").unwrap();
        rings += usize::from(producer.publish().is_due());
        assert!(consumer.pop().unwrap().is_some());
        let _ = consumer.settle();
    }
    assert_eq!(rings, 1, "the first, because nobody has said that it does not sleep");
    let park = consumer.park().unwrap();
    assert!(park.may_sleep);
    producer.push(Kind::Inline, b"wake").unwrap();
    assert!(producer.publish().is_due());
    producer.push(Kind::Inline, b"up").unwrap();
    assert!(!producer.publish().is_due(), "it has been rung for");
    assert!(!consumer.park().unwrap().may_sleep);
}

#[test]
fn a_producer_that_waits_for_space_hears_of_half_a_ring() {
    let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, 0);
    while producer.push(Kind::Inline, &[1; 8]).is_ok() {}
    let park = producer.park(8).unwrap();
    assert!(park.may_sleep && park.doorbell.is_due());
    let (mut rings, mut consumed) = (0, 0);
    while consumer.pop().unwrap().is_some() {
        consumed += 16;
        if consumer.settle().is_due() {
            rings += 1;
            assert!(consumed >= 112, "half of the ring is free");
        }
    }
    assert_eq!(rings, 1);
    assert!(!producer.park(8).unwrap().may_sleep);
}

#[test]
fn a_sleeping_consumer_has_told_all_it_consumed() {
    let ((mut producer, _), (_, mut consumer)) = sides::<u32>(256, 0);
    producer.push(Kind::Inline, b"one").unwrap();
    let _ = producer.publish();
    assert!(consumer.pop().unwrap().is_some());
    assert!(consumer.park().unwrap().may_sleep);
    assert_eq!(producer.is_drained(), Ok(true));
}

#[test]
fn impossible_words_are_violations_and_latch() {
    let (a, b) = Witnessed::<u32>::pair(Plan { capacity: 256, releases: 4, start: 0 });
    let (mut producer, mut consumer) = ends(a);
    for impossible in [4, 257, 264, u32::MAX, u32::MAX - 7, 1 << 31] {
        // ORDERING: Relaxed, here and below: one thread plays both sides.
        b.own(Word::Tail).store(impossible, Ordering::Relaxed);
        let (_, mut fresh) = sides_of(&b, 0);
        assert_eq!(fresh.poll(), Err(Violation::Tail), "{impossible:#x}");
    }
    assert_eq!(consumer.poll(), Err(Violation::Tail));
    b.own(Word::Tail).store(0, Ordering::Relaxed);
    assert_eq!(consumer.poll(), Err(Violation::Tail), "it is latched");
    assert!(matches!(consumer.pop(), Err(Violation::Tail)));

    producer.push(Kind::Inline, b"x").unwrap();
    b.own(Word::Head).store(16, Ordering::Relaxed);
    assert_eq!(producer.is_drained(), Err(Violation::Head), "nothing was published");
    b.own(Word::Head).store(0, Ordering::Relaxed);
    assert_eq!(producer.park(1), Err(Violation::Head), "it is latched");
}

/// Ends that face the region of `peer`.
fn sides_of<I: Index>(peer: &Witnessed<I>, start: I) -> Side<I> {
    ends_at(peer.opposite(), start, start)
}

#[test]
fn impossible_records_are_violations() {
    let cases: [(u64, Violation); 9] = [
        (0, Violation::Kind { found: 0 }),
        (record::encode(7, 0), Violation::Kind { found: 7 }),
        (record::encode(1, 57), Violation::Length { found: 57 }),
        (record::encode(1, 0xFFFF_FFFF), Violation::Length { found: 0xFFFF_FFFF }),
        (record::encode(1, 9), Violation::Length { found: 9 }), // 24 bytes, of which 16 are published
        (record::encode(4, 1), Violation::Length { found: 1 }),
        (record::encode(6, 1), Violation::Length { found: 1 }),
        (record::encode(record::PADDING, 0), Violation::Length { found: 0 }), // it would skip the whole ring
        (record::encode(record::PADDING, 8), Violation::Length { found: 8 }),
    ];
    for (header, violation) in cases {
        let (_, mut b) = Witnessed::<u32>::pair(Plan { capacity: 256, releases: 4, start: 0 });
        b.put_header(0, header);
        b.own(Word::Tail).store(16, Ordering::Relaxed);
        let (_, mut consumer) = sides_of(&b, 0);
        assert_eq!(consumer.pop().map(|_| ()), Err(violation));
        assert_eq!(consumer.pop().map(|_| ()), Err(violation), "it is latched");
    }
}

#[test]
fn nothing_comes_after_the_end() {
    let (_, mut b) = Witnessed::<u32>::pair(Plan { capacity: 256, releases: 4, start: 0 });
    b.put_header(0, record::encode(4, 0));
    b.put_header(8, record::encode(1, 0));
    b.own(Word::Tail).store(8, Ordering::Relaxed);
    let (_, mut consumer) = sides_of(&b, 0);
    assert!(consumer.pop().unwrap().is_some());
    b.own(Word::Tail).store(16, Ordering::Relaxed);
    assert_eq!(consumer.pop().map(|_| ()), Err(Violation::AfterEnd));
}

#[test]
fn a_record_does_not_reach_over_the_end_of_the_ring() {
    let (_, mut b) = Witnessed::<u32>::pair(Plan { capacity: 256, releases: 4, start: 248 });
    b.put_header(248, record::encode(1, 8));
    b.own(Word::Tail).store(248 + 64, Ordering::Relaxed);
    let (_, mut consumer) = sides_of(&b, 248);
    assert_eq!(consumer.pop().map(|_| ()), Err(Violation::Length { found: 8 }));
}

/// The ring against a queue, over every start and many sequences of sizes.
#[test]
fn a_narrow_ring_agrees_with_a_queue_from_every_start() {
    for start in (0..=255_u8).step_by(8) {
        let ((mut producer, _), (_, mut consumer)) = sides::<u8>(64, start);
        let mut queue = VecDeque::new();
        let mut number = 0_usize;
        for step in 0..400_usize {
            let len = (step * 7 + usize::from(start)) % 9;
            let bytes: Vec<u8> = (0..len).map(|n| (number + n).to_le_bytes()[0]).collect();
            if producer.push(Kind::Inline, &bytes).is_ok() {
                queue.push_back(bytes);
                number += 1;
            }
            if step % 3 == 0 {
                let _ = producer.publish();
                while let Some(record) = consumer.pop().unwrap() {
                    assert_eq!(Some(bytes_of(&record)), queue.pop_front());
                }
                let _ = consumer.settle();
            }
        }
        assert!(number > 100);
    }
}
