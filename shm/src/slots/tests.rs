use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::thread;

use linkpoll::buffer::Segment;
use linkpoll::sync::{Arc, AtomicUsize, Ordering};

use super::lending::{Borrower, Lender};
use super::{Arena, ArenaMemory, CHUNK, Ends, InFlight, Loan, Placed};
use crate::ring::{Kind, ends};
use crate::storage::witnessed::{Plan, Witnessed};
use crate::storage::{Index, OwnWord as _, Storage as _, Word};
use crate::violation::Violation;

#[test]
fn tickets_come_back_once() {
    let mut table = InFlight::new(4);
    let tickets: Vec<u32> = (0..4).map(|n| table.lend(n).unwrap()).collect();
    assert_eq!(table.lend(4), Err(4));
    assert_eq!(table.give_back(tickets[2]), Ok(2));
    assert_eq!(table.give_back(tickets[2]), Err(Violation::Ticket { found: tickets[2] }));
    let again = table.lend(5).unwrap();
    assert_ne!(again, tickets[2], "another generation");
    assert_eq!(table.give_back(tickets[2]), Err(Violation::Ticket { found: tickets[2] }), "it is stale");
    assert_eq!(table.give_back(again), Ok(5));
    assert_eq!(table.len(), 3);
}

/// A table of four through some generations, and every number of 16 bits as ticket: only those that are lent come back.
#[test]
fn every_ticket_but_those_lent_is_refused() {
    let mut table = InFlight::new(4);
    for round in 0..9_u32 {
        let lent: BTreeMap<u32, u32> =
            (0..3).map(|n| (table.lend(round * 10 + n).unwrap(), round * 10 + n)).collect();
        let extremes = [u32::MAX, u32::MAX - 3, 1 << 31, 1 << 16];
        for ticket in (0..=u32::from(u16::MAX)).chain(extremes) {
            match lent.get(&ticket) {
                Some(thing) => assert_eq!(table.give_back(ticket), Ok(*thing)),
                None => assert_eq!(table.give_back(ticket), Err(Violation::Ticket { found: ticket })),
            }
        }
        assert!(table.is_empty());
    }
}

#[test]
fn generations_wrap_and_leave_the_index_alone() {
    let mut table = InFlight::new(1 << 30);
    let mut last = table.lend(0).unwrap();
    for n in 1..20 {
        table.give_back(last).unwrap();
        let ticket = table.lend(n).unwrap();
        assert!(ticket != last && ticket.trailing_zeros() >= 30);
        last = ticket;
    }
}

type Memory = Witnessed<u8>;

#[expect(unsafe_code, reason = "each side has one borrower")]
fn sides<T>(releases: usize) -> (Lender<Memory, T>, Borrower<Memory>, Memory) {
    let (a, b) = Memory::pair(Plan { capacity: 64, releases, start: 0 });
    // SAFETY: this one borrows, and `b` is for those who store words only.
    let borrower = Borrower::new(unsafe { b.alias() }, 0);
    (Lender::new(a, 0), borrower, b)
}

#[test]
fn a_side_has_all_four_ends() {
    let (a, b) = Memory::pair(Plan { capacity: 64, releases: 4, start: 0 });
    let (mut a, mut b): (Ends<_, &str>, Ends<_, ()>) = (super::ends(a), super::ends(b));
    let ticket = a.lender.lend("x").unwrap();
    a.producer.push(Kind::Lent, &ticket.to_le_bytes()).unwrap();
    let _ = a.producer.publish();
    let mut bytes = [0; 4];
    b.consumer.pop().unwrap().unwrap().copy_to(0, &mut bytes);
    b.borrower.release(u32::from_le_bytes(bytes));
    let _ = b.borrower.publish();
    assert_eq!(a.lender.collect(|thing| assert_eq!(thing, "x")), Ok(1));
}

#[test]
fn what_is_released_comes_back_in_any_order_and_for_ever() {
    let (mut lender, mut borrower, _) = sides(4);
    let mut back = Vec::new();
    for round in 0..200 {
        let tickets: Vec<u32> = (0..4).map(|n| lender.lend(round * 4 + n).unwrap()).collect();
        assert!(lender.lend(0).is_err());
        for n in [2, 0, 3, 1] {
            borrower.release(tickets[n]);
        }
        assert_eq!(lender.collect(|_| panic!("nothing is published")), Ok(0));
        let _ = borrower.publish();
        assert_eq!(lender.collect(|thing| back.push(thing)), Ok(4));
    }
    back.sort_unstable();
    assert_eq!(back, (0..800).collect::<Vec<_>>());
}

#[test]
fn a_lender_that_waits_is_rung_for() {
    let (mut lender, mut borrower, _) = sides(4);
    let ticket = lender.lend(()).unwrap();
    let other = lender.lend(()).unwrap();
    borrower.release(ticket);
    assert!(borrower.publish().is_due(), "nobody has said that it does not sleep");
    assert_eq!(lender.park(), Ok(false), "one has come back");
    assert_eq!(lender.collect(drop), Ok(1));
    assert_eq!(lender.park(), Ok(true));
    borrower.release(other);
    assert!(borrower.publish().is_due());
}

/// Every count that the peer can claim, for every number of loans.
#[test]
fn no_more_comes_back_than_was_lent() {
    for lent in 0..=4 {
        for released in 0..=u8::MAX {
            let (mut lender, mut borrower, theirs) = sides(4);
            for n in 0..lent {
                borrower.release(lender.lend(n).unwrap());
            }
            // ORDERING: Relaxed, here and below: one thread plays both sides.
            theirs.own(Word::Released).store(released, Ordering::Relaxed);
            let possible = released.number() <= lent;
            let expected = if possible { Ok(released.number()) } else { Err(Violation::Released) };
            // With nothing lent the peer's word is not looked at.
            let expected = if lent == 0 { Ok(0) } else { expected };
            assert_eq!(lender.collect(drop), expected, "{lent} lent, {released} released");
        }
    }
}

#[test]
fn a_bad_release_latches() {
    let (mut lender, mut borrower, _) = sides(4);
    let ticket = lender.lend("kept").unwrap();
    borrower.release(ticket + 4);
    let _ = borrower.publish();
    let bad = Err(Violation::Ticket { found: ticket + 4 });
    assert_eq!(lender.collect(|_| panic!("it is not lent")), bad);
    borrower.release(ticket);
    let _ = borrower.publish();
    assert_eq!(lender.collect(|_| panic!("it is latched")), bad);
    assert_eq!(lender.park().map(usize::from), bad);
    assert_eq!(lender.lent(), 1);
}

#[test]
fn a_loan_is_checked_against_its_arena() {
    let loan = |offset, length| Loan { arena: 0, offset, length, ticket: 1 };
    let len = 4096;
    for (offset, length) in [(0, 1), (0, 4096), (4095, 1), (100, 3996)] {
        assert_eq!(loan(offset, length).check(len), Ok((offset as usize, length as usize)));
    }
    let outside =
        [(0, 0), (0, 4097), (4096, 1), (4095, 2), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)];
    for (offset, length) in outside {
        assert_eq!(loan(offset, length).check(len), Err(Violation::Loan), "{length} at {offset}");
    }
}

#[test]
fn a_loan_is_a_record() {
    let (a, b) = Witnessed::<u32>::pair(Plan { capacity: 256, releases: 4, start: 0 });
    let ((mut producer, _), (_, mut consumer)) = (ends(a), ends(b));
    let loan = Loan { arena: 1, offset: 0x1000, length: 70_000, ticket: 0xDEAD_BEEF };
    producer.push(Kind::Lent, &loan.encode()).unwrap();
    producer.push(Kind::Lent, &[0; 15]).unwrap();
    let _ = producer.publish();
    assert_eq!(Loan::decode(&consumer.pop().unwrap().unwrap()), Ok(loan));
    assert_eq!(Loan::decode(&consumer.pop().unwrap().unwrap()), Err(Violation::Loan));
}

/// A chunk of ordinary memory that counts how many of its kind there are.
struct Chunk {
    first: NonNull<u64>,
    alive: Arc<AtomicUsize>,
}

// SAFETY: who may touch which bytes is the arena's business.
#[expect(unsafe_code, reason = "as mapped memory would be")]
unsafe impl Send for Chunk {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as mapped memory would be")]
unsafe impl Sync for Chunk {}
// SAFETY: the memory is a leaked box of `CHUNK` initialised bytes, freed with the value.
#[expect(unsafe_code, reason = "as mapped memory would be")]
unsafe impl ArenaMemory for Chunk {
    fn range(&self) -> (NonNull<u8>, usize) {
        (self.first.cast(), CHUNK)
    }
}

impl Chunk {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        // ORDERING: Relaxed, here and below: counts that are read when the threads have been joined.
        alive.fetch_add(1, Ordering::Relaxed);
        let words = vec![0_u64; CHUNK / 8].into_boxed_slice();
        Self { first: NonNull::from(Box::leak(words)).cast(), alive: Arc::clone(alive) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        let words = std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), CHUNK / 8);
        #[expect(unsafe_code, reason = "as mapped memory would be")]
        // SAFETY: the box was leaked in `new`.
        drop(unsafe { Box::from_raw(words) });
    }
}

fn written(arena: &mut Arena<Chunk>, len: usize, byte: u8) -> Segment {
    let mut tail = arena.allocate(len).unwrap();
    tail.spare()[..len].fill(byte);
    tail.commit(len)
}

#[test]
fn segments_of_an_arena_know_their_place() {
    let alive = Arc::new(AtomicUsize::new(0));
    let mut arena = Arena::new();
    assert!(arena.allocate(1).is_none());
    assert_eq!((arena.add(Chunk::new(&alive)).ok(), arena.add(Chunk::new(&alive)).ok()), (Some(0), Some(1)));
    let whole = written(&mut arena, CHUNK, 1);
    assert_eq!(arena.place(&whole), Some(Placed { arena: 0, offset: 0, length: 1 << 20 }));
    let small = written(&mut arena, 5000, 2);
    assert_eq!(arena.place(&small), Some(Placed { arena: 1, offset: 0, length: 5000 }));
    let next = written(&mut arena, 8192, 3);
    assert_eq!(arena.place(&next.slice(100..200)), Some(Placed { arena: 1, offset: 8292, length: 100 }));
    assert!(whole.iter().all(|b| *b == 1) && small.iter().all(|b| *b == 2) && next.iter().all(|b| *b == 3));
    assert_eq!(arena.place(&Segment::copy_of(b"elsewhere")), None);
    assert_eq!(arena.place(&small.slice(0..0)), None);
    let mut other = Arena::new();
    other.add(Chunk::new(&alive)).ok().unwrap();
    assert_eq!(other.place(&small), None, "it is another's");
}

#[test]
fn a_slot_is_free_again_when_its_last_segment_is_gone_wherever_that_is() {
    let alive = Arc::new(AtomicUsize::new(0));
    let mut arena = Arena::new();
    arena.add(Chunk::new(&alive)).ok().unwrap();
    let whole = written(&mut arena, CHUNK, 7);
    let part = whole.slice(10..20);
    drop(whole);
    assert!(arena.allocate(1).is_none(), "a part is left");
    thread::spawn(move || assert!(part.iter().all(|b| *b == 7))).join().unwrap();
    let again = written(&mut arena, CHUNK, 8);
    drop(arena);
    assert_eq!(alive.load(Ordering::Relaxed), 1, "the memory outlives its arena");
    assert!(again.iter().all(|b| *b == 8));
    drop(again);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn a_lent_slot_comes_back_through_the_table() {
    let alive = Arc::new(AtomicUsize::new(0));
    let mut arena = Arena::new();
    arena.add(Chunk::new(&alive)).ok().unwrap();
    let (mut lender, mut borrower, _) = sides(4);
    let segment = written(&mut arena, CHUNK, 1);
    let kept = segment.clone();
    let ticket = lender.lend(segment).unwrap();
    borrower.release(ticket);
    let _ = borrower.publish();
    assert_eq!(lender.collect(drop), Ok(1));
    assert!(arena.allocate(1).is_none(), "released, but kept on this side");
    drop(kept);
    assert!(arena.allocate(CHUNK).is_some());
}

#[test]
fn dropping_the_table_drops_what_is_lent() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let (mut lender, _, _) = sides(4);
    for _ in 0..3 {
        assert!(lender.lend(Counted(Arc::clone(&count))).is_ok());
    }
    drop(lender);
    assert_eq!(count.load(Ordering::Relaxed), 3, "the peer is dead");
}
