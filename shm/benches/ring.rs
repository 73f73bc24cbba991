//! The ring alone, both sides in one process and on one thread: `cargo bench -p linkpoll-shm --bench ring`.
//!
//! Each round trip of a record writes its bytes into the ring and copies them out again, and shows the copy to the
//! optimiser. What the cache lines cost that wander between two processors is measured elsewhere; this is what the code
//! costs. `RING_ROUNDS=n` runs one case so often without measuring, for those who count instructions:
//! `RING_CASE=64 RING_ROUNDS=100000 valgrind --tool=callgrind ...`.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use linkpoll_shm::layout;
use linkpoll_shm::region::{OwnRegion, PeerRegion};
use linkpoll_shm::ring::{Consumer, Kind, Producer, ends};
use linkpoll_shm::storage::Mapped;

const CAPACITY: usize = 64 << 10;
const BATCH: usize = 32;

type Memory = Mapped<(OwnRegion, PeerRegion)>;
type Side = (Producer<Memory>, Consumer<Memory>);

fn main() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    match number("RING_ROUNDS") {
        None => divan::main(),
        Some(rounds) => {
            let len = number("RING_CASE").unwrap_or(64);
            let (mut a, mut b) = sides();
            let (message, mut out) = (vec![7; len], vec![0; len]);
            (0..rounds).for_each(|_| pass(&mut a.0, &mut b.1, &message, &mut out));
        }
    }
}

/// Two sides of a session.
fn sides() -> (Side, Side) {
    let len = layout::RING + CAPACITY;
    let create = || OwnRegion::create(len).expect("there is memory");
    let ((a, a_fd), (b, b_fd)) = (create(), create());
    let accept = |fd| PeerRegion::accept(fd, len).expect("it is sealed");
    let (from_a, from_b) = (accept(a_fd), accept(b_fd));
    let side = |regions| ends(Mapped::new(regions, CAPACITY, CAPACITY).expect("a ring of possible size"));
    (side((a, from_b)), side((b, from_a)))
}

/// One record from one side to the other, published alone.
#[inline(never)]
fn pass(producer: &mut Producer<Memory>, consumer: &mut Consumer<Memory>, message: &[u8], out: &mut [u8]) {
    producer.push(Kind::Inline, black_box(message)).expect("there is room");
    let _ = black_box(producer.publish());
    let record = consumer.pop().expect("the producer is honest").expect("it was published");
    record.copy_to(0, &mut out[..message.len()]);
    black_box(out);
    let _ = black_box(consumer.settle());
}

/// Push, publish, pop.
#[divan::bench(args = [8, 64, 256, 1024, 4096, 16376])]
fn one_by_one(bencher: Bencher<'_, '_>, len: usize) {
    let (mut a, mut b) = sides();
    let (message, mut out) = (vec![7; len], vec![0; len]);
    bencher.counter(BytesCount::new(len)).bench_local(|| pass(&mut a.0, &mut b.1, &message, &mut out));
}

/// A batch pushed, published once, and popped.
#[divan::bench(args = [8, 64, 256])]
fn in_batches(bencher: Bencher<'_, '_>, len: usize) {
    let (mut a, mut b) = sides();
    let (message, mut out) = (vec![7; len], vec![0; len]);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            a.0.push(Kind::Inline, black_box(&message)).expect("there is room");
        }
        let _ = black_box(a.0.publish());
        while let Some(record) = b.1.pop().expect("the producer is honest") {
            record.copy_to(0, &mut out);
            black_box(&mut out);
        }
        let _ = black_box(b.1.settle());
    });
}
