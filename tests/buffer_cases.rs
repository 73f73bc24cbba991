//! What a linked buffer for a network must be able to do, case by case.

#[allow(dead_code, reason = "the example's own `main` is not called here")]
#[path = "../examples/pipe_file.rs"]
mod pipe_file;

use std::io::{IoSlice, Read, Write};
use std::thread;

use bytes::{BufMut, Bytes};
use linkpoll::buffer::{
    AllocError, BlockPool, Chain, LinkBuffer, PoolOptions, ReadError, Refill, Segment, SegmentWriter, Short,
    Tail, WriteError,
};
use linkpoll_model::buffer::Pattern;

/// The size of the blocks that a writer asks for.
const BLOCK: usize = 64 << 10;
/// More than the largest block that is shared out of a slab.
const BEYOND_CLASSES: usize = (1 << 20) + 1;
/// Appended pieces from this size on are linked.
const LINKED: usize = 2 << 10;

fn pool() -> BlockPool {
    BlockPool::new(PoolOptions::default())
}

fn writer() -> SegmentWriter {
    SegmentWriter::new(pool())
}

fn pattern(n: usize) -> Vec<u8> {
    Pattern::default().next(n)
}

/// A chain of pieces that do not lie side by side.
fn pieces(pieces: &[&[u8]]) -> Chain {
    let mut chain = Chain::new();
    chain.extend(pieces.iter().map(|piece| Segment::copy_of(piece)));
    chain
}

/// A copy of what is unread.
fn content(chain: &Chain) -> Vec<u8> {
    chain.segments().flat_map(|segment| segment.to_vec()).collect()
}

/// Each reading operation works on exactly the bytes asked for, where they lie in several pieces, too.
#[test]
fn reading_spans_pieces_with_exact_lengths() {
    let mut chain = pieces(&[b"abc", b"defg", b"hi", b"jklmn"]);
    assert_eq!(chain.peek(5).unwrap(), b"abcde");
    assert_eq!(chain.len(), 14);
    assert_eq!(chain.next(4).unwrap(), b"abcd");
    chain.skip(4).unwrap();
    assert_eq!(*chain.slice(3).unwrap(), *b"ijk");
    assert_eq!(chain.len(), 3);
    assert_eq!(chain.peek(4), Err(ReadError::Short(Short { asked: 4, have: 3 })));
    assert_eq!(chain.next(3).unwrap(), b"lmn");
    assert!(chain.is_empty());
}

/// What is kept stays as it is when everything it was cut from is consumed, dropped, and its memory written again.
#[test]
fn a_slice_outlives_what_it_was_cut_from() {
    let pool = pool();
    let mut writer = SegmentWriter::new(pool.clone());
    writer.write(&pattern(1000)).unwrap();
    let mut chain = writer.take().unwrap();
    chain.skip(10).unwrap();
    let kept = chain.slice(50).unwrap();
    drop(chain);
    writer.write(&[0; 3 * BLOCK]).unwrap();
    drop((writer, pool));
    assert_eq!(kept, pattern(60)[10..]);
}

/// Sizes that no machine can supply, and lengths that are not there, are answered with an error and change nothing.
#[test]
fn impossible_sizes_are_errors() {
    for size in [usize::MAX, isize::MAX.unsigned_abs(), isize::MAX.unsigned_abs() + 1] {
        assert!(matches!(pool().allocate(size), Err(AllocError::TooLarge { asked }) if asked == size));
        let mut writer = writer();
        writer.write(b"before").unwrap();
        assert!(matches!(writer.reserve(size), Err(WriteError::Alloc(_))));
        assert!(matches!(writer.hole(size), Err(WriteError::Alloc(_))));
        let mut chain = writer.take().unwrap();
        let short = Short { asked: size, have: 6 };
        assert_eq!(chain.peek(size), Err(ReadError::Short(short)));
        assert_eq!(chain.next(size), Err(ReadError::Short(short)));
        assert_eq!(chain.slice(size).map(|_| ()), Err(ReadError::Short(short)));
        assert_eq!(chain.skip(size), Err(short));
        assert_eq!(chain.split_to(size).map(|_| ()), Err(short));
        assert_eq!(content(&chain), b"before");
    }
    assert!(matches!(Tail::heap(usize::MAX), Err(AllocError::TooLarge { .. })));
    let page_below_all = isize::MAX.unsigned_abs() - 4095;
    assert!(matches!(pool().allocate(page_below_all), Err(AllocError::Exhausted { .. })));
    let unlimited = BlockPool::new(PoolOptions { limit: usize::MAX, bell: None });
    assert!(matches!(unlimited.allocate(page_below_all), Err(AllocError::OutOfMemory { .. })));
    assert_eq!(unlimited.usage().mapped, 0);
}

/// Of a reservation a part is committed; the next one begins right behind that part, and what was reserved and not
/// committed is never seen.
#[test]
fn a_reservation_shrinks_and_grows_again() {
    let mut writer = writer();
    let bytes = pattern(3 * BLOCK);
    let mut at = 0;
    for (room, kept) in [(1000, 10), (10, 10), (2000, 0), (BLOCK, 1000), (2 * BLOCK, BLOCK + 7), (1, 1)] {
        let mut reserved = writer.reserve(room).unwrap();
        assert_eq!(reserved.write(&bytes[at..at + kept]), kept);
        reserved.write(&[0xEE; 100]);
        assert_eq!(reserved.commit(kept), Ok(kept));
        at += kept;
        assert_eq!(writer.len(), at);
    }
    let reserved = writer.reserve(100).unwrap();
    assert_eq!(reserved.commit(1), Err(WriteError::NotWritten { asked: 1, written: 0 }));
    assert_eq!(content(&writer.take().unwrap()), bytes[..at]);
}

/// A block that becomes free while bytes are being written does not make the writer start over beneath them.
#[test]
fn memory_that_comes_back_does_not_move_what_is_being_written() {
    let mut writer = writer();
    writer.write(b"old bytes that nobody may see").unwrap();
    let kept = writer.take().unwrap();
    let mut reserved = writer.reserve(8).unwrap();
    reserved.write(b"half");
    drop(kept);
    reserved.write(b"more");
    reserved.commit(8).unwrap();
    assert_eq!(content(&writer.take().unwrap()), b"halfmore");
}

/// The same, for a writer that is used as `bytes::BufMut`.
#[test]
#[expect(unsafe_code, reason = "BufMut is advanced by an unsafe call")]
fn memory_that_comes_back_does_not_move_a_chunk() {
    let mut writer = writer();
    writer.write(b"old bytes that nobody may see").unwrap();
    let kept = writer.take().unwrap();
    writer.chunk_mut()[..4].copy_from_slice(b"half");
    drop(kept);
    writer.chunk_mut()[4..8].copy_from_slice(b"more");
    // SAFETY: eight bytes of the chunk were written.
    unsafe { writer.advance_mut(8) };
    assert_eq!(content(&writer.take().unwrap()), b"halfmore");
}

/// A large piece goes in at the beginning, in the middle and at the end of what is written, next to bytes that are
/// filled in later.
#[test]
fn a_piece_is_spliced_in_anywhere() {
    let piece = pattern(5000);
    for at in [0, 3, 10] {
        let mut writer = writer();
        let (before, after) = b"0123456789".split_at(at);
        let hole = writer.hole(2).unwrap();
        writer.write(before).unwrap();
        writer.append(Segment::from(piece.clone())).unwrap();
        writer.write(after).unwrap();
        assert!(matches!(writer.take(), Err(WriteError::OpenHole)));
        writer.fill(hole, b"##").unwrap();
        assert_eq!(content(&writer.take().unwrap()), [b"##", before, &piece, after].concat());
    }
}

/// Large pieces are linked, small ones copied, and both stay in their order.
#[test]
fn large_pieces_are_linked_next_to_small_copies() {
    let large = Segment::from(pattern(LINKED));
    let small = Segment::from(pattern(LINKED - 1));
    let mut writer = writer();
    writer.write(b"<").unwrap();
    writer.append(large.clone()).unwrap();
    writer.append(small.clone()).unwrap();
    writer.write(b">").unwrap();
    let chain = writer.take().unwrap();
    assert_eq!(content(&chain), [b"<", &*large, &*small, b">"].concat());
    let starts: Vec<_> = chain.segments().map(|segment| segment.as_ptr()).collect();
    assert_eq!(chain.pieces(), 3);
    assert_eq!(starts[1], large.as_ptr());
    assert!(!starts.contains(&small.as_ptr()));
}

/// What was read in part goes into a writer in which bytes are still left out.
#[test]
fn a_chain_read_in_part_is_appended_to_a_writer_written_in_part() {
    let mut chain = pieces(&[b"abc", &[7; LINKED], b"xyz"]);
    assert_eq!(chain.next(2).unwrap(), b"ab");
    chain.peek(5).unwrap();
    let expected = content(&chain);
    let mut writer = writer();
    let hole = writer.hole(1).unwrap();
    writer.append_chain(chain).unwrap();
    let reserved = writer.reserve(10).unwrap();
    reserved.commit(0).unwrap();
    writer.fill(hole, b"!").unwrap();
    assert_eq!(content(&writer.take().unwrap()), [b"!", &*expected].concat());
}

/// A hole is the business of the writer that left it out.
#[test]
fn a_hole_of_another_writer_is_refused() {
    let (mut one, mut other) = (writer(), writer());
    let foreign = Segment::from_owner([1; 2 * LINKED]);
    one.write(&[0; 100]).unwrap();
    let stray = one.hole(4).unwrap();
    let own = other.hole(1).unwrap();
    other.append(foreign.clone()).unwrap();
    assert_eq!(other.fill(stray, b"evil"), Err(WriteError::HoleGone));
    other.fill(own, b"a").unwrap();
    assert_eq!(content(&other.take().unwrap()), [b"a", &*foreign].concat());
    assert!(foreign.iter().all(|byte| *byte == 1));
    assert!(matches!(one.take(), Err(WriteError::OpenHole)));
    one.discard();
    assert!(one.take().unwrap().is_empty());
}

/// Fewer entries than pieces are filled from the front; more entries than pieces stay as they were.
#[test]
fn gathering_takes_as_many_pieces_as_there_are_entries() {
    let chain = pieces(&[b"ab", b"c", b"def"]);
    for entries in 0..5 {
        let mut into = vec![IoSlice::new(b"untouched"); entries];
        assert_eq!(chain.io_slices(&mut into), entries.min(3));
        for (entry, expected) in into.iter().zip([b"ab".as_slice(), b"c", b"def", b"untouched"]) {
            assert_eq!(&**entry, expected);
        }
    }
    // As many as one call may take, one less and one more.
    let many: Vec<[u8; 1]> = (0..=u8::MAX).cycle().map(|byte| [byte]).take(1025).collect();
    let chain = pieces(&many.iter().map(|piece| piece.as_slice()).collect::<Vec<_>>());
    for entries in [1023, 1024, 1025, 1026] {
        assert_eq!(chain.io_slices(&mut vec![IoSlice::new(&[]); entries]), entries.min(1025));
    }
}

/// A delimiter is found in whichever piece it lies, before and after bytes are skipped and added.
#[test]
fn a_delimiter_is_found_across_pieces() {
    let mut chain = pieces(&[b"aaa", b"bb\nb", b"c"]);
    assert_eq!(chain.find(b'\n'), Some(6));
    assert_eq!(chain.find(b'x'), None);
    chain.skip(4).unwrap();
    assert_eq!(chain.find(b'\n'), Some(2));
    assert_eq!(chain.until(b'\n').unwrap(), Some(b"b\n".as_slice()));
    assert_eq!(chain.until(b'\n').unwrap(), None);
    assert_eq!(content(&chain), b"bc");
    chain.push(Segment::copy_of(b"d\n"));
    assert_eq!(chain.until(b'\n').unwrap(), Some(b"bcd\n".as_slice()));
}

/// Looking again and again at a chain that grows takes at most twice its bytes, and moves them seldom.
#[test]
fn repeated_peeks_stay_within_twice_the_memory() {
    let mut chain = Chain::new();
    let piece = pattern(1000);
    let mut blocks = Vec::new();
    for round in 1..=1000 {
        chain.push(Segment::copy_of(&piece));
        assert_eq!(chain.peek(chain.len()).unwrap().len(), round * piece.len());
        let first = chain.segments().next().unwrap();
        assert_eq!(chain.pieces(), 1);
        assert!(
            first.block().capacity() <= 2 * chain.len(),
            "{} for {}",
            first.block().capacity(),
            chain.len()
        );
        if blocks.last() != Some(&first.block().capacity()) {
            blocks.push(first.block().capacity());
        }
    }
    assert!(blocks.len() <= 11, "joined {} times", blocks.len());
    assert_eq!(content(&chain), piece.repeat(1000));
}

/// Bytes that were looked at, and kept, stay valid while the chain is read by copying and runs empty.
#[test]
fn bytes_kept_after_a_peek_survive_reads() {
    let mut chain = pieces(&[b"head", b"body", b"tail"]);
    assert_eq!(chain.peek(6).unwrap(), b"headbo");
    let kept = chain.slice(6).unwrap();
    let mut copied = [0; 6];
    chain.read_exact(&mut copied).unwrap();
    assert_eq!(&copied, b"dytail");
    chain.push(Segment::copy_of(b"next"));
    chain.peek(4).unwrap();
    assert_eq!(*kept, *b"headbo");
}

/// A writer whose bytes are consumed in time goes round in one block, however much goes through it.
#[test]
fn a_writer_that_keeps_up_stays_in_one_block() {
    let pool = pool();
    let mut writer = SegmentWriter::new(pool.clone());
    let message = pattern(1000);
    writer.write(&message).unwrap();
    let start = writer.take().unwrap().segments().next().unwrap().as_ptr();
    for _ in 0..10_000 {
        writer.write(&message).unwrap();
        assert_eq!(writer.take().unwrap().segments().next().unwrap().as_ptr(), start);
    }
    let usage = pool.usage();
    assert_eq!((usage.mapped, usage.mapped - usage.free), (256 << 10, BLOCK));
}

/// A small unread rest does not keep the block of a large message.
#[test]
fn a_small_rest_does_not_keep_a_block() {
    let pool = pool();
    let mut writer = SegmentWriter::new(pool.clone());
    writer.write(&pattern(BLOCK)).unwrap();
    let mut chain = writer.take().unwrap();
    drop(writer);
    chain.skip(BLOCK - 100).unwrap();
    assert_ne!(pool.usage().free, pool.usage().mapped);
    chain.compact();
    assert_eq!(pool.usage().free, pool.usage().mapped);
    assert_eq!(content(&chain), pattern(BLOCK)[BLOCK - 100..]);
}

/// One thread writes, another reads, with a limit on what is on the way; every byte arrives once and in order.
#[test]
fn one_writer_and_one_reader_agree_on_every_byte() {
    const TOTAL: usize = 8 << 20;
    const HIGH_WATER: usize = 256 << 10;
    const LARGEST: usize = 30_000;
    let (mut sender, mut receiver) = LinkBuffer::new();
    let sending = thread::spawn(move || {
        let mut writer = writer();
        let (mut bytes, mut sum, mut sent, mut round) = (Pattern::default(), Checksum::default(), 0, 0);
        while sent < TOTAL {
            while sender.unconsumed() >= HIGH_WATER as u64 {
                thread::yield_now();
            }
            round += 1;
            let message = bytes.next((round * 7919) % LARGEST + 1);
            sum.add(&message);
            sent += message.len();
            match round % 3 {
                0 => writer.append(Segment::from(message)).unwrap(),
                1 => writer.write(&message).unwrap(),
                _ => writer.append_chain(pieces(&message.chunks(1000).collect::<Vec<_>>())).unwrap(),
            }
            sender.push(writer.take().unwrap()).unwrap();
        }
        sender.finish();
        (sum, sent)
    });
    let (mut sum, mut received, mut most) = (Checksum::default(), 0, 0);
    let (mut slices, mut kept) = (0, Vec::new());
    loop {
        let found = receiver.refill().unwrap();
        let chain = receiver.unread();
        most = most.max(chain.len());
        while !chain.is_empty() {
            let n = chain.len().min(1 + received % 5000);
            let segment = chain.slice(n).unwrap();
            sum.add(&segment);
            received += n;
            slices += 1;
            if slices % 64 == 0 {
                kept.push((segment.to_vec(), segment));
            }
        }
        match found {
            Refill::Complete(_) => break,
            Refill::Open(_) => thread::yield_now(),
        }
    }
    assert_eq!(sending.join().unwrap(), (sum, received));
    assert!(received >= TOTAL);
    assert!(most < HIGH_WATER + LARGEST, "{most} bytes on the way");
    assert!(!kept.is_empty());
    assert!(kept.iter().all(|(copy, segment)| *segment == **copy));
}

/// A sum in which the place of each byte counts (FNV-1a).
#[derive(Debug, PartialEq)]
struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3));
    }
}

/// Around the size of a block, and beyond every class of blocks, writing and reading work as for any other size.
#[test]
fn sizes_around_a_block_go_through() {
    for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, BEYOND_CLASSES, 5 * BEYOND_CLASSES] {
        let pool = pool();
        let bytes = pattern(size);
        let mut writer = SegmentWriter::new(pool.clone());
        writer.write(b"<").unwrap();
        writer.write(&bytes).unwrap();
        let mut reserved = writer.reserve(size).unwrap();
        reserved.zeroed(size).copy_from_slice(&bytes);
        reserved.commit(size).unwrap();
        let hole = writer.hole(size).unwrap();
        writer.fill(hole, &bytes).unwrap();
        writer.append(Segment::from(bytes.clone())).unwrap();
        let mut chain = writer.take().unwrap();
        assert_eq!(chain.len(), 4 * size + 1, "size {size}");
        assert_eq!(chain.next(1).unwrap(), b"<");
        assert_eq!(chain.peek(size).unwrap(), bytes);
        assert_eq!(chain.slice(size).unwrap(), *bytes);
        assert_eq!(chain.next(size).unwrap(), bytes);
        assert_eq!(content(&chain.split_to(size).unwrap()), bytes);
        let mut rest = Vec::new();
        chain.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes, "size {size}");
        drop((writer, chain));
        assert_eq!(pool.usage().free, pool.usage().mapped, "size {size}");
        assert!(pool.allocate(size).unwrap().len() >= size);
    }
}

/// At its limit a pool says so, keeps what it has in order, and goes on as soon as a block comes back.
#[test]
fn a_pool_at_its_limit_is_exhausted_until_a_block_comes_back() {
    let limit = 256 << 10;
    let pool = BlockPool::new(PoolOptions { limit, bell: None });
    let mut tails: Vec<_> = (0..4).map(|_| pool.allocate(BLOCK).unwrap()).collect();
    assert_eq!(pool.allocate(BLOCK).map(|_| ()), Err(AllocError::Exhausted { limit }));
    assert_eq!(pool.allocate(1).map(|_| ()), Err(AllocError::Exhausted { limit }));
    let mut writer = SegmentWriter::new(pool.clone());
    assert_eq!(writer.write(b"x"), Err(WriteError::Alloc(AllocError::Exhausted { limit })));
    let failure = Write::write(&mut writer, b"x").unwrap_err();
    assert!(failure.to_string().contains("limit"), "{failure}");
    assert!(writer.is_empty());

    thread::scope(|scope| scope.spawn(|| drop(tails.pop())).join().unwrap());
    writer.write(b"0123456789").unwrap();
    // What there is room for is written, and reported: the caller would lose count otherwise.
    assert_eq!(Write::write(&mut writer, &pattern(BLOCK)).unwrap(), BLOCK - 10);
    assert_eq!(content(&writer.take().unwrap()), [b"0123456789", &pattern(BLOCK - 10)[..]].concat());
    drop((tails, writer));
    assert_eq!(pool.usage().free, pool.usage().mapped);
    // Blocks of another size fit, once the free ones are given back.
    assert!(pool.allocate(4096).is_ok());
}

/// After a burst the pool keeps one free slab of the size, and gives the rest back to the system.
#[test]
fn memory_is_given_back_after_a_burst() {
    let pool = pool();
    let burst: Vec<_> = (0..256).map(|_| pool.allocate(BLOCK).unwrap()).collect();
    assert_eq!(pool.usage().mapped, 256 * BLOCK);
    let large = pool.allocate(4 * BEYOND_CLASSES).unwrap();
    drop(large);
    assert_eq!(pool.usage().mapped, 256 * BLOCK);
    thread::scope(|scope| scope.spawn(move || drop(burst)).join().unwrap());
    pool.collect();
    let usage = pool.usage();
    assert_eq!((usage.mapped, usage.free), (256 << 10, 256 << 10));
}

/// Segments become `Bytes` and come back without a copy, from every origin.
#[test]
fn bytes_go_both_ways_without_a_copy() {
    let mut writer = writer();
    writer.write(&pattern(100)).unwrap();
    let pooled = writer.take().unwrap().pop().unwrap();
    let inline = Segment::from_owner([9_u8; 24]);
    for segment in [pooled, Segment::from(pattern(100)), inline, Segment::from_owner("static")] {
        let (start, copy) = (segment.as_ptr(), segment.to_vec());
        let mut bytes = Bytes::from(segment);
        assert_eq!((bytes.as_ptr(), &bytes[..]), (start, &copy[..]));
        drop(bytes.split_to(3));
        let back = Segment::from(bytes);
        assert_eq!(back.as_ptr().addr(), start.addr() + 3);
        assert_eq!(back, copy[3..]);
    }
}

/// Only the sole holder of a block, whose origin allows it, may change its bytes.
#[test]
fn only_a_sole_holder_may_write() {
    let mut tail = pool().allocate(100).unwrap();
    tail.spare()[..4].copy_from_slice(b"abcd");
    let mut segment = tail.commit(4);
    assert!(segment.try_unique().is_none(), "the tail has the block, too");
    drop(tail);
    segment.try_unique().unwrap()[0] = b'A';
    let mut half = segment.slice(2..);
    assert!(segment.try_unique().is_none() && half.try_unique().is_none());
    drop(half);
    assert_eq!(*segment, *b"Abcd");
    assert!(segment.try_unique().is_some());
    assert!(Segment::from_owner(vec![1, 2, 3]).try_unique().is_none(), "another owner's bytes");
}

/// Bytes that a reader finds in its hands, and that never went through the stream, cannot confuse the writer.
#[test]
fn foreign_bytes_among_the_unread_ones_do_not_count_as_consumed() {
    let (mut sender, mut receiver) = LinkBuffer::new();
    receiver.unread().push(Segment::copy_of(b"somebody else's"));
    receiver.release();
    assert_eq!(sender.unconsumed(), 0);
    for round in 0..100_u8 {
        sender.push(pieces(&[&[round]])).unwrap();
    }
    assert_eq!(sender.unconsumed(), 100);
    assert_eq!(receiver.refill(), Ok(Refill::Open(100)));
    receiver.unread().skip(15 + 60).unwrap();
    receiver.release();
    assert_eq!(sender.unconsumed(), 40);
    drop(sender);
    assert!(receiver.refill().is_err());
    assert_eq!(content(receiver.unread()), (60..100).collect::<Vec<_>>());
}

/// The example copies files of all sizes, and says in a line what is wrong.
#[test]
fn the_example_pipes_files() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipe_file");
    std::fs::create_dir_all(&directory).unwrap();
    let (from, to) = (directory.join("from"), directory.join("to"));
    let run = |paths: &[&std::path::Path]| pipe_file::run(paths.iter().map(|path| path.into()));
    for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 << 20] {
        let bytes = pattern(size);
        std::fs::write(&from, &bytes).unwrap();
        assert_eq!(run(&[&from, &to]).unwrap(), size as u64);
        assert!(std::fs::read(&to).unwrap() == bytes, "{size} bytes have changed on the way");
    }
    let missing = directory.join("missing/file");
    let message = |paths: &[&std::path::Path]| run(paths).unwrap_err().to_string();
    assert_eq!(message(&[&from]), "usage: pipe_file FROM TO");
    assert_eq!(message(&[&from, &from]), "FROM and TO are the same file");
    assert!(message(&[&missing, &to]).contains("missing/file: No such file"));
    assert!(message(&[&from, &missing]).contains("missing/file: No such file"));
    assert!(message(&[&directory, &to]).starts_with("reading: "));
    // A full disk, on the other thread: the reading one must not wait for ever.
    assert!(message(&[&from, "/dev/full".as_ref()]).starts_with("writing: "));
    std::fs::remove_dir_all(directory).unwrap();
}

/// A sender of single bytes costs neither a block for each of them nor time that grows with their square.
#[test]
fn single_bytes_do_not_pile_up_as_pieces() {
    const BYTES: usize = 20_000;
    let bytes = pattern(BYTES);
    let mut chain = Chain::new();
    let mut most = 0;
    for byte in &bytes {
        let mut block = Tail::heap(64 << 10).expect("memory");
        block.spare()[0] = *byte;
        chain.push(block.commit(1));
        chain.compact();
        most = most.max(chain.pieces());
    }
    assert!(most <= 40, "{most} pieces");
    let held: usize = chain.segments().map(|segment| segment.block().capacity()).sum();
    assert!(held <= 3 * BYTES, "{held} bytes held");
    assert_eq!(content(&chain), bytes);
}

/// Pages of a block are exchanged only for a sole holder, and only where the memory can do so; then the block is like a
/// fresh one.
#[test]
fn pages_are_exchanged_for_a_sole_holder_only() {
    let pool = BlockPool::new(PoolOptions::default());
    let mut tail = pool.allocate(BLOCK).unwrap();
    tail.spare()[..4].copy_from_slice(b"lent");
    let mut segment = tail.commit(4);
    assert!(segment.has_private_pages());
    assert!(!segment.exchange_pages(), "the tail still holds the block");
    drop(tail);
    let other = segment.clone();
    assert!(segment.shares_block_with(&other));
    assert!(!segment.exchange_pages(), "another segment still holds the block");
    assert_eq!(&segment[..], b"lent");
    drop(other);
    assert!(segment.exchange_pages());
    assert!(segment.is_empty());
    drop(segment);
    let mut again = pool.allocate(BLOCK).unwrap();
    assert_eq!(again.spare()[..4], [0; 4], "old bytes in a block whose pages were exchanged");
    let mut foreign = Segment::copy_of(b"bytes");
    assert!(!foreign.has_private_pages() && !foreign.exchange_pages());
    foreign.truncate(3);
    foreign.truncate(9);
    assert_eq!(&foreign[..], b"byt");
}
