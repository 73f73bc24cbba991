//! The timers of a loop, with 100,000 of them armed: `cargo bench --bench timer`.
//!
//! What a limit costs on the way of a byte, with the clock, is measured by `cargo bench --bench seam`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::Bencher;
use linkpoll::timer::Wheel;

const TIMERS: u32 = 100_000;

fn main() {
    divan::main();
}

/// A sequence of slots and of lengths of time without an order that caches could learn.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn slot(&mut self) -> u32 {
        u32::try_from(self.next() % u64::from(TIMERS)).expect("it is less")
    }

    /// Up to a minute.
    fn length(&mut self) -> Duration {
        Duration::from_micros(self.next() % 60_000_000)
    }
}

fn full(start: Instant, random: &mut Random) -> Wheel {
    let mut wheel = Wheel::new(start);
    (0..TIMERS).for_each(|slot| wheel.arm(slot, start + random.length()));
    wheel
}

/// A timer that is armed is moved, to anywhere.
#[divan::bench(sample_size = 10_000)]
fn arm_anew(bencher: Bencher) {
    let (start, mut random) = (Instant::now(), Random(7));
    let mut wheel = full(start, &mut random);
    bencher.bench_local(|| wheel.arm(random.slot(), start + random.length()));
}

/// What [`arm_anew`] spends on choosing.
#[divan::bench(sample_size = 10_000)]
fn choosing_alone(bencher: Bencher) {
    let (start, mut random) = (Instant::now(), Random(7));
    bencher.bench_local(|| (black_box(random.slot()), black_box(start + random.length())));
}

/// A limit begins anew: the timer is armed for an earlier moment, and left there.
#[divan::bench(sample_size = 10_000)]
fn arm_by_later(bencher: Bencher) {
    let (start, mut random) = (Instant::now(), Random(7));
    let mut wheel = full(start, &mut random);
    let at = black_box(start + Duration::from_secs(60));
    bencher.bench_local(|| wheel.arm_by(random.slot(), at));
}

/// A timer is disarmed, and armed.
#[divan::bench(sample_size = 10_000)]
fn disarm_and_arm(bencher: Bencher) {
    let (start, mut random) = (Instant::now(), Random(7));
    let mut wheel = full(start, &mut random);
    bencher.bench_local(|| {
        let slot = random.slot();
        wheel.disarm(slot);
        wheel.arm(slot, start + random.length());
    });
}

/// When to look again.
#[divan::bench(sample_size = 10_000)]
fn next(bencher: Bencher) {
    let (start, mut random) = (Instant::now(), Random(7));
    let wheel = full(start, &mut random);
    bencher.bench_local(|| black_box(&wheel).next());
}

/// A timer comes up, after all that it was filed under, and is armed for another minute.
#[divan::bench(sample_size = 10_000)]
fn expire_and_arm(bencher: Bencher) {
    let (start, mut random) = (Instant::now(), Random(7));
    let mut wheel = full(start, &mut random);
    let mut now = start;
    bencher.bench_local(|| {
        let slot = loop {
            match wheel.expired(now) {
                Some(slot) => break slot,
                None => now = wheel.next().expect("there are timers"),
            }
        };
        wheel.arm(slot, now + Duration::from_secs(30) + random.length() / 2);
    });
}
