//! From which size on a message of its own memory pays: made, sealed, checked, mapped and unmapped, against bytes that are
//! copied into memory that both sides have already, and out of it. The bytes are written and read on both ways.
//! `cargo bench -p linkpoll-shm --bench bulk`.

use divan::{Bencher, black_box};
use linkpoll_shm::bulk::{BulkBuffer, SealedBulk};

const SIZES: [usize; 5] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

fn main() {
    divan::main();
}

/// Reads a word of each cache line.
fn read(bytes: &[u8]) -> u64 {
    bytes.chunks(64).map(|line| u64::from(line[0])).fold(0, u64::wrapping_add)
}

/// One copy, into fresh memory; the receiver maps it.
#[divan::bench(args = SIZES)]
fn sealed(bencher: Bencher<'_, '_>, len: usize) {
    let message = vec![7; len];
    bencher.bench_local(|| {
        let mut buffer = BulkBuffer::new(len).expect("memory");
        buffer.bytes().copy_from_slice(black_box(&message));
        let descriptor = buffer.seal().expect("sealed").into_descriptor();
        let segment = SealedBulk::accept(descriptor, len).expect("sealed").into_segment().expect("mapped");
        read(black_box(&segment))
    });
}

/// Two copies, into memory that is there already.
#[divan::bench(args = SIZES)]
fn copied(bencher: Bencher<'_, '_>, len: usize) {
    let message = vec![7; len];
    let (mut shared, mut private) = (vec![0; len], vec![0; len]);
    bencher.bench_local(|| {
        shared.copy_from_slice(black_box(&message));
        private.copy_from_slice(black_box(&shared));
        read(black_box(&private))
    });
}
