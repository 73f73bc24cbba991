//! Models of the LinkBuffer.

use super::join;
use crate::buffer::{Chain, LinkBuffer, LinkReader, LinkWriter, Refill, Segment, Severed};
use crate::sync::model::{Bound, model};
use crate::sync::thread;

/// A piece of one byte.
fn piece(byte: u8) -> Chain {
    Chain::from(Segment::from(vec![byte]))
}

/// A thread that pushes `pieces` and ends the stream as `end` does.
fn writer(
    mut writer: LinkWriter,
    pieces: impl IntoIterator<Item = u8> + Send + 'static,
    end: fn(LinkWriter),
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        pieces.into_iter().for_each(|byte| writer.push(piece(byte)).unwrap());
        end(writer);
    })
}

/// Takes everything that is there, appends it to `into`, and answers how the stream stands.
fn read(reader: &mut LinkReader, into: &mut Vec<u8>) -> Result<bool, Severed> {
    let refill = reader.refill()?;
    while let Some(segment) = reader.unread().pop() {
        into.extend_from_slice(&segment);
    }
    Ok(matches!(refill, Refill::Complete(_)))
}

/// Reads until the stream ends.
fn read_all(mut reader: LinkReader) -> (Vec<u8>, Result<(), Severed>) {
    let mut bytes = Vec::new();
    loop {
        match read(&mut reader, &mut bytes) {
            Ok(true) => return (bytes, Ok(())),
            Ok(false) => thread::yield_now(),
            Err(Severed) => return (bytes, Err(Severed)),
        }
    }
}

/// B-9: every byte that was pushed before the end arrives, in order, and then the end.
///
/// The end is stored right behind the bytes, so a reader may see bytes and end at once or one after the other.
/// Pieces go into chunks of one slot, so each also crosses a link. Absent: reuse of chunks (B-11).
/// Kills: Release of `published` in `push` or `drop` -> Relaxed; Acquire in `refill` -> Relaxed.
#[test]
fn all_bytes_arrive_before_the_end() {
    model("buffer-link-end", Bound::Exhaustive, || {
        let (to, from) = LinkBuffer::new();
        let writer = writer(to, [1, 2], LinkWriter::finish);
        assert_eq!(read_all(from), (vec![1, 2], Ok(())));
        join([writer]);
    });
}

/// B-10: a stream whose writer goes away delivers what was pushed, and then says that it is severed.
///
/// As B-9, with the other end. Absent: reuse of chunks (B-11).
/// Kills: Release of `published` in `push` or `drop` -> Relaxed; Acquire in `refill` -> Relaxed.
#[test]
fn a_severed_stream_delivers_its_bytes_first() {
    model("buffer-link-severed", Bound::Preemptions(3), || {
        let (to, from) = LinkBuffer::new();
        let writer = writer(to, [1, 2], drop);
        assert_eq!(read_all(from), (vec![1, 2], Err(Severed)));
        join([writer]);
    });
}

/// B-11: the writer uses a chunk again only when the reader has left it for ever.
///
/// Three chunks are needed before the first can come back; with four pieces a chunk is filled, taken, reported,
/// linked again and filled again while the reader runs. Absent: more than one piece in a push (B-12).
/// Kills: Acquire in `reclaim` -> Relaxed; Release of `consumed` in `release` -> Relaxed.
#[test]
fn a_chunk_is_used_again_only_when_left() {
    model("buffer-link-reuse", Bound::Preemptions(2), || {
        let (to, from) = LinkBuffer::new();
        let writer = writer(to, [1, 2, 3, 4], LinkWriter::finish);
        assert_eq!(read_all(from), (vec![1, 2, 3, 4], Ok(())));
        join([writer]);
    });
}

/// B-12: pieces of one push arrive together, over as many chunks as they need.
///
/// The reader finds nothing or both pieces, and never one: they are published by one word. The third piece may go
/// into the chunk of the first. Absent: an end that is seen.
/// Kills: Release of `published` in `push` -> Relaxed; Acquire in `refill` -> Relaxed; and as B-11.
#[test]
fn pieces_of_one_push_arrive_together() {
    model("buffer-link-together", Bound::Preemptions(3), || {
        let (mut to, mut from) = LinkBuffer::new();
        let writer = thread::spawn(move || {
            let mut pieces = piece(1);
            pieces.append(piece(2));
            to.push(pieces).unwrap();
            to.push(piece(3)).unwrap();
            to.finish();
        });
        let mut bytes = Vec::new();
        while bytes.len() < 3 {
            assert!(read(&mut from, &mut bytes).is_ok());
            assert_ne!(bytes.len(), 1);
            thread::yield_now();
        }
        assert_eq!(bytes, [1, 2, 3]);
        join([writer]);
    });
}

/// B-13: a writer that waits until its bytes are consumed gets on, and never counts less than is on the way.
///
/// The window is one byte: the second piece is pushed when the first was reported, which the reader does by asking
/// for more. A report that never came would keep both waiting for ever. Absent: reuse of chunks (B-11).
/// Kills: no ordering (the number leads to no memory), but a `refill` that does not report.
#[test]
fn a_writer_can_wait_for_consumption() {
    model("buffer-link-window", Bound::Preemptions(2), || {
        let (mut to, from) = LinkBuffer::new();
        let writer = thread::spawn(move || {
            to.push(piece(1)).unwrap();
            while to.unconsumed() > 0 {
                thread::yield_now();
            }
            to.push(piece(2)).unwrap();
            assert!(to.unconsumed() <= 1);
            to.finish();
        });
        assert_eq!(read_all(from), (vec![1, 2], Ok(())));
        join([writer]);
    });
}

/// B-14: a reader that goes away while the writer pushes leaves each piece freed once, or with the writer.
///
/// The reader has taken pieces that only its drop reports as consumed, and the writer may use their chunk again
/// before it learns that nobody is there. Absent: an end of the stream.
/// Kills: Release of `consumed` in the reader's drop -> Relaxed; Acquire in `reclaim` -> Relaxed.
#[test]
fn a_reader_may_go_away_at_any_time() {
    model("buffer-link-gone", Bound::Exhaustive, || {
        let (to, mut from) = LinkBuffer::new();
        let writer = thread::spawn(move || {
            let mut to = to;
            for byte in 1..=4 {
                if let Err(gone) = to.push(piece(byte)) {
                    assert_eq!(gone.0.front(), [byte]);
                    return;
                }
            }
        });
        assert_ne!(from.refill(), Err(Severed));
        let mut taken = Vec::new();
        while let Some(segment) = from.unread().pop() {
            taken.extend_from_slice(&segment);
        }
        drop(from);
        assert!((1..).zip(&taken).all(|(expected, byte)| expected == *byte));
        join([writer]);
    });
}

/// B-15: when both ends are dropped, whichever is last, pieces that nobody has read are freed once.
///
/// Pieces lie in two chunks of the list or in the reader's chain, or come back to the writer. Blocks are tracked, so
/// one that stays behind is a leak. Absent: reuse of chunks (B-11).
/// Kills: no ordering (the end is behind the last drop of an `Arc`), but a list whose chunks are not all freed.
#[test]
fn unread_pieces_are_freed_with_the_ends() {
    model("buffer-link-unread", Bound::Exhaustive, || {
        let (mut to, mut from) = LinkBuffer::new();
        let writer = thread::spawn(move || drop((to.push(piece(1)), to.push(piece(2)), to)));
        let _ = from.refill();
        drop(from);
        join([writer]);
    });
}
