//! Everything at once, for as long as one likes: sizes from nothing to 8 MiB, loops that sleep and spin, replies that are
//! kept for a while, half-closes, and sessions that come and go. In the end the numbers add up.

use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{
    LONGEST, Place, Random, duration, finish, finish_loops, loops, nothing_has_failed, seed, server,
    statistics, until,
};
use crate::between::Busy;
use crate::conversation::{Style, Tally, converse, half_close};

/// Conversations at a time.
const AT_A_TIME: usize = 3;

#[test]
fn everything_arrives_as_it_was_sent() {
    let seed = seed("soak");
    let end = Instant::now() + duration() * 2;
    let mut all = Tally::default();
    let mut rounds = 0;
    while rounds < 2 || Instant::now() < end {
        all.add(round(seed.wrapping_add(rounds)));
        rounds += 1;
    }
    let mib = all.bytes >> 20;
    eprintln!("{rounds} rounds, {} sessions, {} messages, {mib} MiB each way", all.sessions, all.messages);
}

/// A server with clients that come and go, for about a second.
fn round(seed: u64) -> Tally {
    let place = Place::new("soak");
    let mut random = Random(seed);
    let spins = [random.spin(), random.spin()];
    let server = server(&place.address(), spins[0]);
    let loops = loops(spins[1]);
    let end = Instant::now() + Duration::from_millis(1000);
    let tally = thread::scope(|scope| {
        let visitors: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                let (mut random, loops, place) = (Random(random.next()), &loops, &place);
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    while Instant::now() < end {
                        tally.add(visit(&loops.dialer(), place, &mut random, end));
                    }
                    tally
                })
            })
            .collect();
        let mut all = Tally::default();
        for visitor in visitors {
            all.add(visitor.join().unwrap_or_else(|_| panic!("LINKPOLL_SOAK_SEED={seed}")));
        }
        all
    });
    until("all sessions are closed", || statistics(place.path())["sessions_open"] == 0);
    let counted = statistics(place.path());
    for (name, expected) in [
        ("bytes_received", tally.bytes),
        ("bytes_sent", tally.bytes),
        ("sessions_accepted", tally.sessions),
        ("loans_out", 0),
        ("arenas_open", 0),
    ] {
        assert_eq!(counted[name], expected, "{name}, LINKPOLL_SOAK_SEED={seed}, {spins:?}");
    }
    nothing_has_failed(&counted);
    finish_loops(loops);
    finish(server);
    tally
}

/// One session, of some kind, and for some time.
fn visit(dialer: &linkpoll::net::Dialer, place: &Place, random: &mut Random, end: Instant) -> Tally {
    if random.below(4) == 0 {
        return half_close(dialer, &place.address(), random);
    }
    let longest = [100, 5000, 300_000, LONGEST, LONGEST][random.below(5)];
    let style = Style { longest, deepest: 1 + random.below(8), kept: 32 << 20 };
    let until = end.min(Instant::now() + Duration::from_millis(random.next() % 500));
    converse(dialer, &place.address(), style, &Busy::new(), random, until)
}
