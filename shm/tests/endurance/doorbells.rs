//! Doorbells that are lost, and doorbells without reason.

use std::time::{Duration, Instant};

use linkpoll::reactor::Spin;

use crate::bed::{
    LONGEST, Message, PATIENCE, Place, Random, dial, duration, echo, finish, finish_loops, loops,
    nothing_has_failed, seed, server, statistics,
};
use crate::between::{Between, Busy, Done, Plan};
use crate::conversation::{Style, Tally, converse};

/// A conversation through a relay.
fn through(
    name: &str,
    plan: Plan,
    style: Style,
    spins: [Spin; 2],
    time: Duration,
    seed: u64,
) -> (Done, Tally) {
    let (place, before) = (Place::new(name), Place::new(&format!("{name}-relay")));
    let busy = Busy::new();
    let server = server(&place.address(), spins[0]);
    let between = Between::start(before.path(), place.path(), plan, &busy);
    let loops = loops(spins[1]);
    let (mut random, end) = (Random(seed), Instant::now() + time);
    let tally = converse(&loops.dialer(), &before.address(), style, &busy, &mut random, end);
    let done = between.stop();
    finish_loops(loops);
    finish(server);
    (done, tally)
}

const SMALL: Style = Style { longest: 20_000, deepest: 4, kept: 1 << 20 };
const LARGE: Style = Style { longest: LONGEST, deepest: 4, kept: 32 << 20 };

/// Nobody has to be rescued where no doorbell is lost: whoever sleeps, or spins for a while and then sleeps, is woken.
#[test]
fn nobody_is_rescued_where_no_doorbell_is_lost() {
    let mut random = Random(seed("doorbells"));
    let plan = Plan { looks: 1000, ..Plan::default() };
    let mut all = Tally::default();
    let mut doorbells = 0;
    for style in [SMALL, LARGE] {
        let spins = [Spin::Never, [Spin::Never, Spin::Once, Spin::Adaptive][random.below(3)]];
        let (done, tally) = through("no-loss", plan, style, spins, duration() / 2, random.next());
        assert_eq!(
            done.rescues, 0,
            "somebody slept who should have been woken: {spins:?}, {done:?}, {tally:?}"
        );
        all.add(tally);
        doorbells += done.doorbells;
    }
    eprintln!("{} messages, {doorbells} doorbells, nobody was rescued", all.messages);
    assert!(doorbells > 0, "nobody slept: {all:?}");
}

/// The watchdog sees what it is for: where doorbells are lost it has to rescue, and nothing else is lost by that.
#[test]
fn lost_doorbells_are_noticed_and_lose_nothing() {
    let seed = seed("lost doorbells");
    let plan = Plan { lose_one_in: 8, looks: 10, ..Plan::default() };
    let mut rescues = 0;
    for round in 0..50 {
        let spins = [Spin::Never, Spin::Never];
        let (done, tally) =
            through("loss", plan, SMALL, spins, Duration::from_millis(400), seed.wrapping_add(round));
        rescues += done.rescues;
        if rescues >= 10 {
            eprintln!("{rescues} rescues; the last round: {done:?}, {tally:?}");
            return;
        }
    }
    panic!("{rescues} rescues: what the watchdog would not see could be lost unseen");
}

/// Doorbells without reason at full speed, to a session that works and from it: its calls are answered, and those of others.
#[test]
fn a_flood_of_doorbells_disturbs_nobody() {
    let (place, before) = (Place::new("flood"), Place::new("flood-relay"));
    let server = server(&place.address(), Spin::Never);
    let plan = Plan { flood: 50, ..Plan::default() };
    let between = Between::start(before.path(), place.path(), plan, &Busy::new());
    let (loops, others) = (loops(Spin::Never), loops(Spin::Never));
    let flooded = dial(&loops.dialer(), &before.address());
    let calm = dial(&others.dialer(), &place.address());
    let end = Instant::now() + PATIENCE;
    for number in 0..300 {
        echo(&calm, Message { number, len: 1000 });
        echo(&flooded, Message { number, len: 1000 });
        assert!(Instant::now() < end, "call {number}");
    }
    let statistics = statistics(place.path());
    nothing_has_failed(&statistics);
    let heard = statistics["doorbells_heard"];
    let done = between.stop();
    assert!(done.added > 1000, "a flood of {}", done.added);
    // Doorbells in a row are one, and one look at the socket takes many of them.
    assert!(heard < done.added as u64, "{heard} of {}", done.added);
    finish_loops(loops);
    finish_loops(others);
    finish(server);
}
