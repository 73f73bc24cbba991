//! Clauses about waiting, and about the bell that ends it.

use std::thread;
use std::time::{Duration, Instant};

use linkpoll::driver::Driver as _;

use crate::{Bed, Family, Peer as _, Rig};

const MOMENT: Duration = Duration::from_millis(30);

/// A driver without work sleeps for as long as it may, also with idle connections; and not much longer.
pub fn an_idle_driver_sleeps<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    assert!(!rig.step(), "a fresh driver has nothing to tell");
    let _pairs: Vec<_> = (0..5).map(|_| rig.pair()).collect();
    rig.turn(Duration::ZERO);
    let start = Instant::now();
    let short = rig.short_waits(5, MOMENT);
    assert!(short <= 1, "{short} of 5 waits were short");
    assert!(start.elapsed() < 5 * MOMENT + rig.patience() / 2, "it overslept");
    rig.finish();
}

/// A wait of no time does not sleep.
pub fn looking_does_not_sleep<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let _pair = rig.pair();
    let asleep = (0..100).filter(|_| rig.sleeps_in_turn(Duration::ZERO).0).count();
    assert!(asleep < 10, "{asleep} of 100 looks slept");
    rig.finish();
}

/// A bell that is rung by another thread ends a wait.
pub fn a_bell_ends_a_wait<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let bell = rig.driver.bell();
    let limit = rig.patience();
    for _ in 0..3 {
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(MOMENT);
                bell.ring();
            });
            rig.turn(limit);
        });
        assert!(start.elapsed() < limit / 2, "the bell was not heard");
    }
    rig.finish();
}

/// A bell that is rung before a wait ends it.
pub fn a_bell_before_the_wait_ends_it<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let bell = rig.driver.bell();
    for rings in 1..4 {
        (0..rings).for_each(|_| bell.ring());
        let start = Instant::now();
        rig.turn(rig.patience());
        assert!(start.elapsed() < rig.patience() / 2, "the bell was not heard");
    }
    rig.finish();
}

/// A bell that was heard does not end the waits that follow.
pub fn a_bell_rings_once<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let bell = rig.driver.bell();
    (0..100).for_each(|_| bell.ring());
    rig.turn(rig.patience());
    let short = rig.short_waits(5, MOMENT);
    assert!(short <= 1, "{short} of 5 waits were short");
    rig.finish();
}

/// Turns elsewhere until something is so.
fn until_elsewhere<B: Bed>(rig: &mut Rig<'_, B>, what: &str, is_so: impl Fn(&Rig<'_, B>) -> bool) {
    let limit = Instant::now() + rig.patience();
    while !is_so(rig) {
        assert!(Instant::now() < limit, "given up: {what}; {rig}");
        rig.turn_elsewhere(rig.patience());
    }
}

/// A sleep that somebody else makes on the descriptor of an armed driver is ended by whatever ends a wait, and by
/// nothing else.
pub fn an_armed_descriptor_tells_what_a_wait_would<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, mut peer) = rig.pair();
    let (closing, _other) = rig.pair_of(Family::Unix);
    let bell = rig.driver.bell();
    // What is left over from attaching may end a few.
    let slept = (0..10).filter(|_| rig.turn_elsewhere(MOMENT)).count();
    assert!(slept >= 5 || rig.driver.caps().must_poll, "{slept} of 10 idle sleeps were slept through");
    for round in 1..=3 {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(MOMENT);
                peer.write(b"ping");
            });
            until_elsewhere(&mut rig, "the bytes", |rig| rig.log(key).received.len() == 4 * round);
        });
        rig.send(key, b"pong");
        until_elsewhere(&mut rig, "they are sent", |rig| rig.log(key).sent == rig.log(key).given);
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(MOMENT);
                bell.ring();
            });
            rig.turn_elsewhere(rig.patience());
        });
        assert!(start.elapsed() < rig.patience() / 2, "the bell was not heard");
    }
    rig.close(closing);
    until_elsewhere(&mut rig, "the close", |rig| rig.log(closing).closed);
    peer.end();
    until_elsewhere(&mut rig, "the end", |rig| rig.log(key).ended);
    rig.finish();
}

/// What has come before the look is not slept through either, although the look has taken notice of it.
pub fn what_is_there_before_a_sleep_elsewhere_is_not_slept_through<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    let (key, mut peer) = rig.pair();
    let bell = rig.driver.bell();
    rig.turn(Duration::ZERO);
    // What is left over from attaching may end it; or it parks what is only looked at while there are no sleeps.
    rig.turn_elsewhere(Duration::from_millis(1));
    for round in 1..=3 {
        bell.ring();
        let start = Instant::now();
        rig.turn_elsewhere(rig.patience());
        assert!(start.elapsed() < rig.patience() / 2, "the bell was not heard");
        peer.write(b"ping");
        // Whether a look has seen them or not.
        thread::sleep(MOMENT);
        let start = Instant::now();
        until_elsewhere(&mut rig, "the bytes", |rig| rig.log(key).received.len() == 4 * round);
        assert!(start.elapsed() < rig.patience() / 2, "bytes that were there were slept on");
    }
    rig.finish();
}
