//! The buffers against `bytes::BytesMut` and `VecDeque<u8>`, on the same work: `cargo bench --bench buffers`.
//!
//! Every byte read is copied out, and the copies are shown to the optimiser, so that nobody wins by doing nothing.
//! Each contestant keeps what it can keep from one round to the next, as it would on a connection.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{IoSlice, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use divan::Bencher;
use divan::counter::BytesCount;
use linkpoll::buffer::{BlockPool, Chain, PoolOptions, Segment, SegmentWriter};

const MESSAGE: usize = 1 << 10;
const LARGE: usize = 64 << 10;
const PIECES: usize = 16;
/// Rounds in a sample. Fixed, because it would else be chosen by the first round, in which fresh memory is mapped.
const SAMPLE: u32 = 1000;

fn main() {
    divan::main();
}

fn writer() -> SegmentWriter {
    SegmentWriter::new(BlockPool::new(PoolOptions::default()))
}

/// Write 1 KiB and read it back.
mod message {
    use super::*;

    #[divan::bench(sample_size = SAMPLE)]
    fn linkpoll(bencher: Bencher) {
        let (message, mut out, mut writer) = ([7; MESSAGE], [0; MESSAGE], writer());
        bencher.counter(BytesCount::new(MESSAGE)).bench_local(|| {
            writer.write(black_box(&message)).expect("there is memory");
            let mut chain = writer.take().expect("no hole is open");
            out.copy_from_slice(chain.next(MESSAGE).expect("it was written"));
            black_box(&mut out);
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn linkpoll_tail(bencher: Bencher) {
        let (message, mut out) = ([7; MESSAGE], [0; MESSAGE]);
        let mut tail = BlockPool::new(PoolOptions::default()).allocate(LARGE).expect("there is memory");
        bencher.counter(BytesCount::new(MESSAGE)).bench_local(|| {
            if tail.len() < MESSAGE {
                tail.reset();
            }
            tail.spare()[..MESSAGE].copy_from_slice(black_box(&message));
            let mut chain = Chain::new();
            chain.push_written(&mut tail, MESSAGE);
            out.copy_from_slice(chain.next(MESSAGE).expect("it was written"));
            black_box(&mut out);
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn bytes_mut(bencher: Bencher) {
        let (message, mut out, mut buffer) = ([7; MESSAGE], [0; MESSAGE], BytesMut::with_capacity(LARGE));
        bencher.counter(BytesCount::new(MESSAGE)).bench_local(|| {
            buffer.put_slice(black_box(&message));
            let bytes = buffer.split_to(MESSAGE).freeze();
            out.copy_from_slice(&bytes);
            black_box(&mut out);
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn vec_deque(bencher: Bencher) {
        let (message, mut out, mut queue) = ([7; MESSAGE], [0; MESSAGE], VecDeque::with_capacity(LARGE));
        bencher.counter(BytesCount::new(MESSAGE)).bench_local(|| {
            queue.extend(black_box(&message));
            // Shown, or the optimiser would copy from the message to the end, and nothing into the queue.
            black_box(&mut queue);
            queue.read_exact(&mut out).expect("it was written");
            black_box(&mut out);
        });
    }
}

/// Write 64 KiB in pieces of 1 KiB and read them back at once.
mod large_in_pieces {
    use super::*;

    #[divan::bench(sample_size = SAMPLE)]
    fn linkpoll(bencher: Bencher) {
        let (message, mut out, mut writer) = ([7; MESSAGE], vec![0; LARGE], writer());
        bencher.counter(BytesCount::new(LARGE)).bench_local(|| {
            for _ in 0..LARGE / MESSAGE {
                writer.write(black_box(&message)).expect("there is memory");
            }
            let mut chain = writer.take().expect("no hole is open");
            chain.read_exact(&mut out).expect("it was written");
            black_box(&mut out);
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn bytes_mut(bencher: Bencher) {
        let (message, mut out, mut buffer) = ([7; MESSAGE], vec![0; LARGE], BytesMut::with_capacity(LARGE));
        bencher.counter(BytesCount::new(LARGE)).bench_local(|| {
            for _ in 0..LARGE / MESSAGE {
                buffer.put_slice(black_box(&message));
            }
            let mut bytes = buffer.split_to(LARGE).freeze();
            bytes.copy_to_slice(&mut out);
            black_box(&mut out);
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn vec_deque(bencher: Bencher) {
        let (message, mut out, mut queue) = ([7; MESSAGE], vec![0; LARGE], VecDeque::with_capacity(LARGE));
        bencher.counter(BytesCount::new(LARGE)).bench_local(|| {
            for _ in 0..LARGE / MESSAGE {
                queue.extend(black_box(&message));
                black_box(&mut queue);
            }
            queue.read_exact(&mut out).expect("it was written");
            black_box(&mut out);
        });
    }
}

/// Keep a part of a message and let it go.
mod slice_and_drop {
    use super::*;

    #[divan::bench(sample_size = SAMPLE)]
    fn linkpoll(bencher: Bencher) {
        let mut writer = writer();
        writer.write(&[7; MESSAGE]).expect("there is memory");
        let segment = writer.take().expect("no hole is open").pop().expect("it was written");
        bencher.bench_local(|| {
            let part = black_box(&segment).slice(100..200);
            black_box(part[50]);
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn bytes(bencher: Bencher) {
        let mut buffer = BytesMut::with_capacity(LARGE);
        buffer.put_slice(&[7; MESSAGE]);
        let bytes = buffer.split_to(MESSAGE).freeze();
        bencher.bench_local(|| {
            let part = black_box(&bytes).slice(100..200);
            black_box(part[50]);
        });
    }
}

/// Offer pieces of 1 KiB for one gathering write.
mod gather {
    use super::*;

    #[divan::bench(sample_size = SAMPLE)]
    fn linkpoll(bencher: Bencher) {
        let mut chain = Chain::new();
        chain.extend((0..PIECES).map(|_| Segment::copy_of(&[7; MESSAGE])));
        bencher.bench_local(|| {
            let mut entries = [IoSlice::new(&[]); PIECES];
            let filled = black_box(&chain).io_slices(&mut entries);
            black_box(touch(&entries[..filled]));
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn queue_of_bytes(bencher: Bencher) {
        let queue: VecDeque<Bytes> = (0..PIECES).map(|_| Bytes::from(vec![7; MESSAGE])).collect();
        bencher.bench_local(|| {
            let mut entries = [IoSlice::new(&[]); PIECES];
            let mut filled = 0;
            for (entry, bytes) in entries.iter_mut().zip(black_box(&queue)) {
                *entry = IoSlice::new(bytes);
                filled += 1;
            }
            black_box(touch(&entries[..filled]));
        });
    }

    #[divan::bench(sample_size = SAMPLE)]
    fn vec_deque(bencher: Bencher) {
        // Half of it lies before the end of the ring, half of it after.
        let mut queue = VecDeque::from(vec![7; PIECES * MESSAGE]);
        queue.rotate_left(PIECES * MESSAGE / 2);
        bencher.bench_local(|| {
            let mut entries = [IoSlice::new(&[]); PIECES];
            let filled = black_box(&queue).chunks_vectored(&mut entries);
            black_box(touch(&entries[..filled]));
        });
    }

    /// One byte of each piece, as the kernel would look at them.
    fn touch(entries: &[IoSlice<'_>]) -> u64 {
        entries.iter().map(|entry| u64::from(entry[entry.len() - 1])).sum()
    }
}
