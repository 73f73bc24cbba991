//! Models of the ring and of its wake-ups: two sides of a session, one way.
//!
//! The ring has 32 bytes, so that the longest record is its head alone: what a record carries is its kind, and the head
//! lies in witnessed memory. Three records fit beside the room for the end. The counters are `u8` and begin just
//! before they wrap. The doorbell is a [`FakeBell`]: it blocks, wakes, now and then returns for no reason, and orders
//! nothing that the code under test has to order itself.
//!
//! The thresholds begin behind the counters, as those of sides that have not slept for long: a doorbell that is due
//! is due because its owner has announced its sleep.

use linkpoll::sync::model::{Bound, model};
use linkpoll::sync::{Arc, AtomicBool, AtomicUsize, Bell as _, FakeBell, Ordering, thread};

use super::{Consumer, Kind, Producer, PushError, ends_at};
use crate::storage::witnessed::{Plan, Witnessed};
use crate::storage::{OwnWord as _, Storage as _, Word};
use crate::wake::Doorbell;

type Memory = Witnessed<u8>;

const CAPACITY: usize = 32;
const KINDS: [Kind; 3] = [Kind::Inline, Kind::Lent, Kind::Bulk];

/// One direction of a session, with the doorbells of both sides.
struct Direction {
    producer: Producer<Memory>,
    consumer: Consumer<Memory>,
    bells: Arc<Bells>,
}

struct Bells {
    consumer: FakeBell,
    producer: FakeBell,
    consumers_rings: AtomicUsize,
}

impl Bells {
    fn new() -> Self {
        Self { consumer: FakeBell::new(), producer: FakeBell::new(), consumers_rings: AtomicUsize::new(0) }
    }

    fn ring_consumer(&self, doorbell: Doorbell) {
        if doorbell.is_due() {
            // ORDERING: Relaxed: the models must not get an edge from the count.
            self.consumers_rings.fetch_add(1, Ordering::Relaxed);
            self.consumer.ring();
        }
    }

    fn ring_producer(&self, doorbell: Doorbell) {
        if doorbell.is_due() {
            self.producer.ring();
        }
    }
}

fn direction(start: u8) -> Direction {
    direction_of(CAPACITY, start)
}

fn direction_of(capacity: usize, start: u8) -> Direction {
    let (a, b) = Memory::pair(Plan { capacity, releases: 1, start });
    let awake = start.wrapping_sub(8);
    // ORDERING: Relaxed: no thread runs yet.
    a.own(Word::SpaceAt).store(awake, Ordering::Relaxed);
    // ORDERING: as above.
    b.own(Word::WakeAt).store(awake, Ordering::Relaxed);
    let ((producer, _), (_, consumer)) = (ends_at(a, start, start), ends_at(b, start, start));
    Direction { producer, consumer, bells: Arc::new(Bells::new()) }
}

/// The kind of the next record, if one is there.
fn next(consumer: &mut Consumer<Memory>) -> Option<Kind> {
    consumer.pop().expect("the producer is honest").map(|record| record.kind())
}

/// Receives until `is_enough` of what was received, sleeping when nothing is there.
fn receive(consumer: &mut Consumer<Memory>, bells: &Bells, is_enough: impl Fn(&[Kind]) -> bool) -> Vec<Kind> {
    let mut received = Vec::new();
    loop {
        received.extend(std::iter::from_fn(|| next(consumer)));
        bells.ring_producer(consumer.settle());
        if is_enough(&received) {
            return received;
        }
        let park = consumer.park().expect("the producer is honest");
        bells.ring_producer(park.doorbell);
        if park.may_sleep {
            bells.consumer.wait();
        }
    }
}

/// a published record wakes its consumer: whatever the consumer sees or misses, it never sleeps on a record.
///
/// Two records are published one by one, and either may race the announcement of a sleep, with values as old as the
/// fences permit. A lost wake-up shows as a deadlock. Absent: a full ring.
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Release of the counter -> Relaxed; Acquire of `poll` -> Relaxed. By hand: a
/// `publish` that looks at the threshold before it stores the counter; a `park` that looks at the tail before it
/// announces; a threshold compared with `<=` on both sides.
#[test]
fn a_published_record_always_wakes_its_consumer() {
    model("shm-wake", Bound::Preemptions(4), || {
        let Direction { mut producer, mut consumer, bells } = direction(248);
        let bell = Arc::clone(&bells);
        let sender = thread::spawn(move || {
            for kind in [Kind::Inline, Kind::Lent] {
                producer.push(kind, &[]).expect("there is room");
                bell.ring_consumer(producer.publish());
            }
        });
        let received = receive(&mut consumer, &bells, |received| received.len() == 2);
        assert_eq!(received, [Kind::Inline, Kind::Lent]);
        sender.join().expect("the sender does not panic");
    });
}

/// records arrive in the order they were pushed, each once; none is read before it is published, and none
/// overwritten before it is consumed.
///
/// Five records through a ring that holds three, so that the ring and the counters wrap; the producer publishes when the
/// ring is full, and at the end. Nobody sleeps; both look again and again. Absent: padding, which has no bytes that could
/// race (`records_come_in_order_round_after_round`).
/// Kills: Acquire of `poll` or `refresh` -> Relaxed; Release of the counter -> Relaxed.
#[test]
fn records_arrive_once_and_in_order() {
    model("shm-ring", Bound::Preemptions(2), || {
        let Direction { mut producer, mut consumer, .. } = direction(240);
        let sender = thread::spawn(move || {
            for n in 0..5 {
                while let Err(error) = producer.push(KINDS[n % 3], &[]) {
                    assert_eq!(error, PushError::Full);
                    let _ = producer.publish();
                    thread::yield_now();
                }
            }
            let _ = producer.publish();
        });
        for n in 0..5 {
            let kind = loop {
                match next(&mut consumer) {
                    Some(kind) => break kind,
                    None => thread::yield_now(),
                }
            };
            let _ = consumer.settle();
            assert_eq!(kind, KINDS[n % 3]);
        }
        assert_eq!(next(&mut consumer), None);
        sender.join().expect("the sender does not panic");
    });
}

/// a producer that waits for space is woken once half of the ring is free, and a consumer that waits for records is
/// woken too: they never both sleep.
///
/// Five records through a ring that holds three. The producer parks when the ring is full, the consumer when it is
/// empty; either sleep that is not ended shows as a deadlock. Absent: what the consumer holds back; a quarter of this
/// ring is one record (the next model, and `a_sleeping_consumer_has_told_all_it_consumed`).
/// Kills: fences F1 and F2, on the side of the space.
#[test]
fn a_producer_that_waits_for_space_gets_on() {
    model("shm-space", Bound::Preemptions(2), || {
        let Direction { mut producer, mut consumer, bells } = direction(240);
        let bell = Arc::clone(&bells);
        let sender = thread::spawn(move || {
            for n in 0..5 {
                while let Err(error) = producer.push(KINDS[n % 3], &[]) {
                    assert_eq!(error, PushError::Full);
                    let park = producer.park(0).expect("the consumer is honest");
                    bell.ring_consumer(park.doorbell);
                    if park.may_sleep {
                        bell.producer.wait();
                    }
                }
            }
            bell.ring_consumer(producer.publish());
        });
        let received = receive(&mut consumer, &bells, |received| received.len() == 5);
        let expected: Vec<Kind> = (0..5).map(|n| KINDS[n % 3]).collect();
        assert_eq!(received, expected);
        sender.join().expect("the sender does not panic");
    });
}

/// a producer that waits for space is woken by a consumer that never sleeps, although that holds back what it
/// has consumed.
///
/// Eight records through a ring that holds seven: a quarter is two records, so the last of seven is held back. The consumer
/// looks again and again. Absent: a consumer that sleeps (the model before).
/// Kills: fences F1 and F2. By hand: a threshold of the whole ring, which this consumer never publishes; a consumer that publishes
/// its head only when it sleeps.
#[test]
fn a_producer_that_waits_for_space_is_woken_by_one_that_does_not_sleep() {
    model("shm-held-back", Bound::Preemptions(2), || {
        let Direction { mut producer, mut consumer, bells } = direction_of(64, 208);
        let bell = Arc::clone(&bells);
        let sender = thread::spawn(move || {
            for n in 0..7 {
                producer.push(KINDS[n % 3], &[]).expect("there is room");
            }
            bell.ring_consumer(producer.publish());
            while let Err(error) = producer.push(KINDS[7 % 3], &[]) {
                assert_eq!(error, PushError::Full);
                let park = producer.park(0).expect("the consumer is honest");
                if park.may_sleep {
                    bell.producer.wait();
                }
            }
            bell.ring_consumer(producer.publish());
        });
        for n in 0..8 {
            let kind = loop {
                match next(&mut consumer) {
                    Some(kind) => break kind,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(kind, KINDS[n % 3]);
            bells.ring_producer(consumer.settle());
        }
        sender.join().expect("the sender does not panic");
    });
}

/// the end wakes a consumer that sleeps, and comes after everything that was pushed before, also through a full
/// ring.
///
/// Three records fill the ring, so the end takes the room that is left for it; it is published with them, or after a
/// first publication. Absent: records after the end, which the producer refuses and the consumer takes as a violation.
/// Kills: fences F1 and F2; by hand: an end in a word of its own, read before the tail.
#[test]
fn the_end_comes_last_and_wakes() {
    model("shm-end", Bound::Preemptions(4), || {
        let Direction { mut producer, mut consumer, bells } = direction(240);
        let bell = Arc::clone(&bells);
        let sender = thread::spawn(move || {
            for kind in KINDS {
                producer.push(kind, &[]).expect("there is room");
            }
            bell.ring_consumer(producer.publish());
            producer.end();
            bell.ring_consumer(producer.publish());
        });
        let received = receive(&mut consumer, &bells, |received| received.contains(&Kind::End));
        assert_eq!(received, [Kind::Inline, Kind::Lent, Kind::Bulk, Kind::End]);
        assert!(consumer.is_ended());
        sender.join().expect("the sender does not panic");
    });
}

/// wherever a producer dies, its consumer ends, with a prefix of what was pushed that holds all that was published.
///
/// Whether the producer still lives is asked before each of its steps, also between the publication and the doorbell; the
/// kernel then hangs up, which rings. The consumer drains the ring once more after it has seen that. Absent: dying
/// between two stores of one step; what is not published yet is not seen, so that is the step not taken.
/// Kills: no ordering of its own; by hand: a consumer that ends without the last look.
#[test]
fn a_dead_producer_leaves_what_it_published() {
    model("shm-crash", Bound::Preemptions(2), || {
        let Direction { mut producer, mut consumer, bells } = direction(248);
        let fate = Arc::new(Fate::new());
        let (bell, its_fate) = (Arc::clone(&bells), Arc::clone(&fate));
        let victim = thread::spawn(move || {
            let mut published = 0;
            let mut live = || {
                for kind in [Kind::Inline, Kind::Lent] {
                    its_fate.step()?;
                    producer.push(kind, &[]).ok()?;
                    its_fate.step()?;
                    let doorbell = producer.publish();
                    published += 1;
                    its_fate.step()?;
                    bell.ring_consumer(doorbell);
                }
                Some(())
            };
            let _ = live();
            its_fate.hang_up();
            bell.consumer.ring();
            published
        });
        let killer = {
            let fate = Arc::clone(&fate);
            thread::spawn(move || fate.kill())
        };
        let mut received = Vec::new();
        loop {
            // Asked first: what is drained after the hang-up is all there will be.
            let is_last = fate.has_hung_up();
            received.extend(std::iter::from_fn(|| next(&mut consumer)));
            if is_last {
                break;
            }
            if consumer.park().expect("the producer was honest").may_sleep {
                bells.consumer.wait();
            }
        }
        let published = victim.join().expect("the victim does not panic");
        assert_eq!(received, KINDS[..published]);
        killer.join().expect("the killer does not panic");
    });
}

/// Whether a process has been killed, and whether the kernel has told its peer.
struct Fate {
    killed: AtomicBool,
    hang_ups: AtomicUsize,
}

impl Fate {
    fn new() -> Self {
        Self { killed: AtomicBool::new(false), hang_ups: AtomicUsize::new(0) }
    }

    /// `None` when it has been killed.
    fn step(&self) -> Option<()> {
        // ORDERING: Relaxed: a coin.
        (!self.killed.load(Ordering::Relaxed)).then_some(())
    }

    fn kill(&self) {
        // ORDERING: Relaxed: a coin.
        self.killed.store(true, Ordering::Relaxed);
    }

    /// MODEL: the kernel closes the sockets of a process that has died after its last store is visible. Whoever asks is
    /// told what is so now, as by a system call, hence the operations that read and write.
    fn hang_up(&self) {
        // ORDERING: Release, partner in `has_hung_up`: see above.
        self.hang_ups.fetch_add(1, Ordering::Release);
    }

    fn has_hung_up(&self) -> bool {
        // ORDERING: Acquire, partner in `hang_up`.
        self.hang_ups.fetch_add(0, Ordering::Acquire) > 0
    }
}

/// a consumer that spins costs no doorbell, and one that sleeps costs one for each sleep at most.
///
/// Two publications race one announced sleep. Absent: the counters' wrap, after which a threshold left behind costs one
/// ring more.
/// Kills: no ordering; by hand: a `publish` that rings whenever the threshold is not ahead of the counter.
#[test]
fn a_sleep_costs_at_most_one_ring() {
    model("shm-coalesce", Bound::Preemptions(3), || {
        let Direction { mut producer, mut consumer, bells } = direction(240);
        let bell = Arc::clone(&bells);
        let sender = thread::spawn(move || {
            for kind in [Kind::Inline, Kind::Lent] {
                producer.push(kind, &[]).expect("there is room");
                bell.ring_consumer(producer.publish());
            }
        });
        let mut sleeps = 0;
        let mut received = 0;
        while received < 2 {
            sleeps += 1;
            if consumer.park().expect("the producer is honest").may_sleep {
                bells.consumer.wait();
            }
            received += std::iter::from_fn(|| next(&mut consumer)).count();
        }
        sender.join().expect("the sender does not panic");
        // ORDERING: Relaxed: the sender has ended.
        let rings = bells.consumers_rings.load(Ordering::Relaxed);
        assert!(rings <= sleeps, "{rings} rings for {sleeps} sleeps");
    });
}
