//! A model of lending: slots, tickets and the release ring, with the records that carry them. It runs on the narrow
//! counters of one byte, which wrap on the way.

use linkpoll::sync::model::{Bound, model};
use linkpoll::sync::{Arc, Bell as _, FakeBell, Ordering, Track, Witness, thread};

use super::lending::{Borrower, Lender};
use crate::ring::{Kind, ends_at};
use crate::storage::witnessed::{Plan, Witnessed};
use crate::storage::{OwnWord as _, Storage as _, Word};

type Memory = Witnessed<u8>;

const CAPACITY: usize = 64;
const SLOTS: usize = 1;
const START: u8 = 240;

/// Slots of the lender's, each a witness, and which of them are free.
struct Slots {
    bytes: Arc<[Witness; SLOTS]>,
    free: Vec<Track<usize>>,
}

/// a slot is free, or lent under one ticket, and never both; it is written again only when the borrower has read
/// it for the last time and released it, and a lender that waits for it is woken.
///
/// One slot is lent three times. The borrower finds its ticket in a record, reads the slot, releases the ticket and
/// rings if that is due; the lender sleeps until its slot is back, counts its slots, and writes it again. Tickets are one
/// byte in a record. Absent: more slots than one, which add nothing to the race of one slot (`tickets_come_back_once`);
/// blocks with local references (claims B-1 to B-4); a borrower that lies (`every_ticket_but_those_lent_is_refused`).
/// Kills: Release of the counter and Acquire of `waiting` -> Relaxed; fences F1 and F2, on the side of the releases. By
/// hand: a release that is published before its slot is read; a slot that is free as soon as its record is consumed.
#[test]
fn a_slot_is_written_again_only_when_it_has_come_back() {
    model("shm-slots", Bound::Preemptions(2), || {
        let (a, b) = Memory::pair(Plan { capacity: CAPACITY, releases: 1, start: START });
        // ORDERING: Relaxed: no thread runs yet.
        a.own(Word::ReleaseAt).store(START - 8, Ordering::Relaxed);
        let bytes = Arc::new(std::array::from_fn(|_| Witness::new(1)));
        let free = (0..SLOTS).map(Track::new).collect();
        let mut slots = Slots { bytes: Arc::clone(&bytes), free };
        let bell = Arc::new(FakeBell::new());
        let mut lender = lender(&a);
        let mut borrower = borrower(&b);
        let ((mut producer, _), (_, mut consumer)) = (ends_at(a, START, START), ends_at(b, START, START));

        let its_bell = Arc::clone(&bell);
        let borrowing = thread::spawn(move || {
            for _ in 0..3 {
                let mut ticket = [0; 5];
                loop {
                    if let Some(record) = consumer.pop().expect("the lender is honest") {
                        record.copy_to(0, &mut ticket);
                        break;
                    }
                    thread::yield_now();
                }
                let [slot, ticket @ ..] = ticket;
                bytes[usize::from(slot)].read(0, 1);
                borrower.release(u32::from_le_bytes(ticket));
                if borrower.publish().is_due() {
                    its_bell.ring();
                }
            }
        });
        for _ in 0..3 {
            let slot = loop {
                lender.collect(|slot| slots.free.push(slot)).expect("the borrower is honest");
                assert_eq!(slots.free.len() + lender.lent(), SLOTS, "free or lent");
                if let Some(slot) = slots.free.pop() {
                    break slot;
                }
                if lender.park().expect("the borrower is honest") {
                    bell.wait();
                }
            };
            let number = *slot.get_ref();
            slots.bytes[number].write(0, 1);
            let ticket = lender.lend(slot).unwrap_or_else(|_| panic!("a free slot has a ticket"));
            let [t0, t1, t2, t3] = ticket.to_le_bytes();
            let slot = u8::try_from(number).expect("slots are few");
            producer.push(Kind::Lent, &[slot, t0, t1, t2, t3]).expect("there is room");
            let _ = producer.publish();
        }
        borrowing.join().expect("the borrower does not panic");
        lender.collect(drop).expect("the borrower is honest");
        assert_eq!(lender.lent(), 0);
    });
}

#[expect(unsafe_code, reason = "each side has one lender and one borrower")]
fn lender<T>(side: &Memory) -> Lender<Memory, T> {
    // SAFETY: the lender writes nothing but words.
    Lender::new(unsafe { side.alias() }, START)
}

#[expect(unsafe_code, reason = "each side has one lender and one borrower")]
fn borrower(side: &Memory) -> Borrower<Memory> {
    // SAFETY: this is the only borrower of its side.
    Borrower::new(unsafe { side.alias() }, START)
}
