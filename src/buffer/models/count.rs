//! Models of the reference count.

use super::{join, reader, written};
use crate::buffer::{BlockPool, Lender, PoolOptions, Segment, SegmentWriter, Spent, Tail};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, AtomicUsize, Ordering, thread};

/// The owner of some bytes; counts its drops.
struct Owner {
    bytes: [u8; 2],
    drops: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // ORDERING: Relaxed: the count is read when all threads have ended.
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// B-1: the last of three holders releases a block, once, after every holder has finished reading.
///
/// Each holder reads and drops on a thread of its own, so any of them is the last, and any two may look at the count
/// at the same time, where the one that finds itself alone skips the decrement. Absent: clones made meanwhile (B-2).
/// Kills: Release of the decrement -> Relaxed; the Acquire fence behind it -> none; Acquire of `has_only` -> Relaxed.
#[test]
fn the_last_holder_releases_a_block_once() {
    model("buffer-count-release", Bound::Exhaustive, || {
        let drops = Arc::new(AtomicUsize::new(0));
        let segment = Segment::from_owner(Owner { bytes: [1, 2], drops: Arc::clone(&drops) });
        let readers = [reader(segment.clone(), &[1, 2]), reader(segment.clone(), &[1, 2])];
        assert_eq!(*segment, [1, 2]);
        drop(segment);
        join(readers);
        // ORDERING: Relaxed: the readers have ended.
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// B-2: a clone that is made while others are dropped keeps the block.
///
/// Both threads clone, drop the original and read the clone, so the count goes up and down on either side, and comes
/// down to one while a clone is still to be made. Absent: a third holder (B-1).
/// Kills: Release of the decrement -> Relaxed; the Acquire fence behind it -> none; Acquire of `has_only` -> Relaxed.
#[test]
fn a_clone_keeps_the_block() {
    model("buffer-count-clone", Bound::Exhaustive, || {
        let segment = Segment::from(vec![1, 2]);
        let mut other = segment.clone();
        let cloner = thread::spawn(move || {
            let last = other.split_to(1);
            assert_eq!(*other, [2]);
            drop(other);
            assert_eq!(*last, [1]);
        });
        let last = segment.slice(1..);
        drop(segment);
        assert_eq!(*last, [2]);
        drop(last);
        join([cloner]);
    });
}

/// B-3: a tail takes its block for writing again only when every segment of it is gone, and after their last reads.
///
/// Two readers hold one segment while the tail, which has a reference in reserve, asks again and again whether it is
/// alone; when it is, it writes where they have read. Absent: several cuts (B-16), a pool (B-5).
/// Kills: Acquire of `has_only` -> Relaxed; Release of the decrement -> Relaxed; a count that forgets the reserve.
#[test]
fn a_tail_rewrites_only_when_alone() {
    model("buffer-count-reset", Bound::Exhaustive, || {
        let mut tail = Tail::heap(2).unwrap();
        let segment = written(&mut tail, &[1]);
        let readers = [reader(segment.clone(), &[1]), reader(segment, &[1])];
        while !tail.reset() {
            thread::yield_now();
        }
        assert_eq!(*written(&mut tail, &[3, 4]), [3, 4]);
        join(readers);
    });
}

/// B-4: the bytes of a segment are lent for writing only to a holder that is alone.
///
/// The other holder reads, clones and reads again; a count read too early would let the writer in beside it.
/// Absent: blocks of foreign owners, which are never writable.
/// Kills: Acquire of `has_only` -> Relaxed; Release of the decrement -> Relaxed.
#[test]
fn a_segment_is_unique_only_when_alone() {
    model("buffer-count-unique", Bound::Exhaustive, || {
        let mut segment = Segment::from(vec![1, 2]);
        let other = segment.clone();
        let holder = thread::spawn(move || {
            let clone = other.clone();
            drop(other);
            assert_eq!(*clone, [1, 2]);
        });
        loop {
            if let Some(bytes) = segment.try_unique() {
                bytes[0] = 9;
                break;
            }
            thread::yield_now();
        }
        assert_eq!(*segment, [9, 2]);
        join([holder]);
    });
}

/// B-27: views whose references were added in a row count as one each, and what is left of the row is given back.
///
/// A lender cuts three views off one block, in two rows, of which the last is longer than needed. Two of them are read
/// and dropped on other threads, while the whole, the lender and the third go here, so that any of them may be the
/// last. Absent: references that are given up in a row (B-28).
/// Kills: Release of the decrement -> Relaxed; the Acquire fence behind it -> none; Acquire of `has_only` -> Relaxed.
#[test]
fn views_cut_in_a_row_count_as_one_each() {
    model("buffer-count-lender", Bound::Preemptions(3), || {
        let drops = Arc::new(AtomicUsize::new(0));
        let segment = Segment::from_owner(Owner { bytes: [1, 2], drops: Arc::clone(&drops) });
        let mut lender = Lender::default();
        let readers = [
            reader(lender.slice(&segment, 0..1, || 2), &[1]),
            reader(lender.slice(&segment, 1..2, || 2), &[2]),
        ];
        let third = lender.slice(&segment, 0..2, || 2);
        drop(segment);
        drop(lender);
        assert_eq!(*third, [1, 2]);
        drop(third);
        join(readers);
        // ORDERING: Relaxed: the readers have ended.
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// B-28: segments that a writer has copied are let go of together, once, and not before their bytes were read.
///
/// Two short segments of one block are copied into a writer's own, while a third is read on another thread; then the
/// writer's bytes are taken, which lets go of both. Absent: other blocks in between, which end a row.
/// Kills: Release of the decrement -> Relaxed; the Acquire fence behind it -> none; Acquire of `has_only` -> Relaxed.
#[test]
fn segments_copied_by_a_writer_are_let_go_of_together() {
    model("buffer-count-spent", Bound::Preemptions(3), || {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut segment = Segment::from_owner(Owner { bytes: [1, 2], drops: Arc::clone(&drops) });
        let mut writer = SegmentWriter::new(BlockPool::new(PoolOptions::default()));
        let readers = [0, 1].map(|_| reader(segment.clone(), &[1, 2]));
        let first = segment.split_to(1);
        writer.append(first).unwrap();
        writer.append(segment).unwrap();
        assert_eq!(writer.take().unwrap().len(), 2);
        join(readers);
        // ORDERING: Relaxed: the readers have ended.
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// B-29: what a tail takes back counts as given up, and what is of another block is given up.
///
/// Two references to a segment are taken back while two readers hold others; the tail asks again and again whether it is
/// alone, and then writes where they have read. A reference to a foreign block goes the same way and ends that block.
/// Absent: references of several blocks in a row (B-28).
/// Kills: Acquire of `has_only` -> Relaxed; Release of the decrement -> Relaxed; a reserve that grows by one for both.
#[test]
fn what_a_tail_takes_back_counts_as_given_up() {
    model("buffer-count-back", Bound::Preemptions(3), || {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut tail = Tail::heap(2).unwrap();
        let segment = written(&mut tail, &[1]);
        let readers = [reader(segment.clone(), &[1]), reader(segment.clone(), &[1])];
        let mut spent = Spent::new(segment.clone());
        spent.add(segment).unwrap();
        let foreign = Segment::from_owner(Owner { bytes: [1, 2], drops: Arc::clone(&drops) });
        let foreign = spent.add(foreign).unwrap_err();
        tail.take_back(spent);
        tail.take_back(Spent::new(foreign));
        // ORDERING: Relaxed: the owner was dropped on this thread.
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        while !tail.reset() {
            thread::yield_now();
        }
        assert_eq!(*written(&mut tail, &[3, 4]), [3, 4]);
        join(readers);
    });
}
