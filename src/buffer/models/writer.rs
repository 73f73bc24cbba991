//! Models of the writer, whose current block other threads let go of while it writes.

use bytes::BufMut;

use super::{join, reader};
use crate::buffer::{BlockPool, LinkBuffer, PoolOptions, Refill, Segment, SegmentWriter};
use crate::sync::model::{Bound, model};
use crate::sync::thread;

fn new() -> SegmentWriter {
    SegmentWriter::new(BlockPool::new(PoolOptions::default()))
}

/// Writes `bytes` and takes them as the one segment that they are.
fn segment(writer: &mut SegmentWriter, bytes: &[u8]) -> Segment {
    writer.write(bytes).unwrap();
    take(writer)
}

fn take(writer: &mut SegmentWriter) -> Segment {
    let mut chain = writer.take().unwrap();
    let segment = chain.pop().unwrap();
    assert!(chain.is_empty());
    segment
}

/// B-16: a writer starts its block over only after the last reader of the old bytes, at any moment of a write.
///
/// The reader drops its segment before, between or after the writes; where the writer finds itself alone it writes
/// from the beginning, where the reader has read. Absent: a block that comes home by the pool (B-5).
/// Kills: Acquire of `has_only` -> Relaxed; Release of the decrement -> Relaxed.
#[test]
fn a_block_is_started_over_only_when_alone() {
    model("buffer-writer-over", Bound::Preemptions(3), || {
        let mut writer = new();
        let readers =
            [reader(segment(&mut writer, &[1, 2]), &[1, 2]), reader(segment(&mut writer, &[3]), &[3])];
        assert_eq!(*segment(&mut writer, &[4]), [4]);
        assert_eq!(*segment(&mut writer, &[5, 6]), [5, 6]);
        join(readers);
    });
}

/// B-17: bytes that were written through a reservation stay where they are until its commit.
///
/// The last reader of the block's old bytes lets go between two writes into one reservation; a writer that started
/// the block over then would commit bytes that nobody wrote. Absent: the pool.
/// Kills: no ordering, but a reservation that looks for its room again at every write.
#[test]
fn a_reservation_stays_in_place() {
    model("buffer-writer-reserved", Bound::Preemptions(3), || {
        let mut writer = new();
        let readers = [reader(segment(&mut writer, &[1]), &[1]), reader(segment(&mut writer, &[2]), &[2])];
        let mut reserved = writer.reserve(2).unwrap();
        assert_eq!(reserved.write(&[3]), 1);
        assert_eq!(reserved.write(&[4]), 1);
        assert_eq!(reserved.commit(2), Ok(2));
        assert_eq!(*take(&mut writer), [3, 4]);
        join(readers);
    });
}

/// B-18: the chunk that a writer offers by `BufMut` stays in place until it is advanced over.
///
/// The trait lets its user ask for the chunk several times, and write a part each time, before it advances once. The
/// last reader of the block's old bytes lets go in between. Absent: the pool.
/// Kills: no ordering, but a chunk that is looked for anew at each call.
#[test]
#[expect(unsafe_code, reason = "advance_mut is unsafe to call")]
fn an_offered_chunk_stays_in_place() {
    model("buffer-writer-chunk", Bound::Preemptions(3), || {
        let mut writer = new();
        let readers = [reader(segment(&mut writer, &[1]), &[1]), reader(segment(&mut writer, &[2]), &[2])];
        writer.chunk_mut()[..1].copy_from_slice(&[3]);
        writer.chunk_mut()[1..2].copy_from_slice(&[4]);
        // SAFETY: the first two bytes of the chunk were written above.
        unsafe { writer.advance_mut(2) };
        assert_eq!(*take(&mut writer), [3, 4]);
        join(readers);
    });
}

/// B-19: a slice that a third thread holds keeps its bytes, while writer and reader of the stream go on.
///
/// The writer pushes bytes of its block through a LinkBuffer; the reader passes a part on and lets go of the rest;
/// the writer starts over when everything came back, and not before. Absent: reuse of chunks (B-11).
/// Kills: Acquire of `has_only` -> Relaxed; Release of the decrement -> Relaxed; Release of `published` -> Relaxed.
#[test]
fn a_slice_on_a_third_thread_keeps_its_bytes() {
    model("buffer-writer-third", Bound::Preemptions(2), || {
        let mut writer = new();
        let (mut to, mut from) = LinkBuffer::new();
        let passes_on = thread::spawn(move || {
            while !matches!(from.refill(), Ok(Refill::Complete(_))) {
                thread::yield_now();
            }
            let first = from.unread().slice(1).unwrap();
            let third = reader(first, &[1]);
            assert_eq!(*from.unread().slice(1).unwrap(), [2]);
            join([third]);
        });
        writer.write(&[1, 2]).unwrap();
        to.push(writer.take().unwrap()).unwrap();
        to.finish();
        assert_eq!(*segment(&mut writer, &[3, 4]), [3, 4]);
        assert_eq!(*segment(&mut writer, &[5]), [5]);
        join([passes_on]);
    });
}
