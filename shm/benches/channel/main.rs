//! Channels against what the machine can do, on two processors: `cargo bench -p linkpoll-shm --bench channel [CASE...]`.
//!
//! Every byte is written and read on both sides. Whatever is compared takes turns in slices of a few milliseconds, because
//! processors of a virtual machine move about, and two runs one after the other compare their luck. What is printed is the
//! median over the slices, and of the ratios of neighbours.
//!
//! `CHANNEL_ROUNDS=n` makes so many round trips on one thread and nothing else, for those who count instructions.

mod echo;
mod floor;
mod oneway;
mod report;
mod sides;

use std::hint::black_box;

use linkpoll::reactor::Spin;
use linkpoll_shm::handshake::Doorbell;

use crate::echo::{Ring, Shm, Think, Unix, compare};
use crate::floor::{Events, Slots};

fn main() {
    if let Some(rounds) = std::env::var("CHANNEL_ROUNDS").ok().and_then(|text| text.parse().ok()) {
        return count(rounds);
    }
    // Before any thread is started: they inherit where they may run.
    sides::pin(0);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let run = |name: &str, case: &dyn Fn()| {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            println!("\n{name}");
            case();
        }
    };
    let (fast, parked) = (4000, 60);
    for len in [64, 1024] {
        run(&format!("spinning: {len} B echo"), &|| {
            compare(
                len,
                fast,
                Think::No,
                &mut [
                    &mut Slots(1),
                    &mut Slots(64),
                    &mut Ring,
                    &mut Shm::new(Spin::Always, Doorbell::Socket),
                    // What goes round in the nearest cache.
                    &mut Shm::with_ring(Spin::Always, Doorbell::Socket, 16 << 10),
                    &mut Shm::with_ring(Spin::Always, Doorbell::Socket, 8 << 10),
                ],
            );
        });
    }
    run("parked: 1 KiB echo", &|| {
        compare(
            1024,
            parked,
            Think::No,
            &mut [
                &mut Events::new(),
                &mut Unix::new(),
                &mut Shm::new(Spin::Never, Doorbell::EventFd),
                &mut Shm::new(Spin::Never, Doorbell::Socket),
            ],
        );
    });
    run("parked: 64 KiB echo", &|| {
        compare(
            64 << 10,
            parked,
            Think::No,
            &mut [
                &mut Unix::new(),
                &mut Shm::new(Spin::Never, Doorbell::EventFd),
                &mut Shm::with_ring(Spin::Never, Doorbell::EventFd, 256 << 10),
            ],
        );
    });
    run("thinking: 1 KiB echo, 20 us between a reply and the next request", &|| {
        compare(
            1024,
            100,
            Think::Micros(20),
            &mut [&mut Unix::new(), &mut Shm::new(Spin::Adaptive, Doorbell::Socket)],
        );
    });
    run("oneway: 64 B", &oneway::small);
    run("oneway: 1 MiB", &oneway::large);
}

/// Round trips of 1 KiB, both sides on this thread.
fn count(rounds: usize) {
    let (mut a, mut b) = sides::pair(Spin::Never, Doorbell::Socket, 64 << 10);
    let (message, mut there, mut back) = ([7; 1024], Vec::new(), Vec::new());
    for _ in 0..rounds {
        a.send(black_box(&message)).expect("somebody reads");
        b.recv(&mut there).expect("an honest peer");
        b.send(black_box(&there)).expect("somebody reads");
        a.recv(&mut back).expect("an honest peer");
        black_box(&back);
    }
}
