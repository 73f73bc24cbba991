//! Clauses about waiting, and about the bell that ends it.

use std::thread;
use std::time::{Duration, Instant};

use linkpoll::driver::Driver as _;

use crate::{Bed, Family, Rig};

const MOMENT: Duration = Duration::from_millis(30);

/// A driver without work sleeps for as long as it may, also with idle connections; and not much longer.
pub fn an_idle_driver_sleeps<B: Bed>(bed: &B) {
    let mut rig = Rig::new(bed);
    assert!(!rig.step(), "a fresh driver has nothing to tell");
    let _pairs: Vec<_> = (0..5).map(|_| rig.pair(Family::Tcp)).collect();
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
    let _pair = rig.pair(Family::Tcp);
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
