//! What comes back to a loop from other threads, and the loop's end meanwhile.

use std::time::Duration;

use super::driver::Fate;
use super::{Loop, Manner};
use crate::driver::Key;
use crate::handover::{Parcel, Tray, WayBack};
use crate::service::{Clock, Local};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, Counter, Track, thread};

type Content = Track<usize>;

/// A local that counts what has come back.
struct Basket {
    tray: Tray<Content, ()>,
    sum: Arc<Counter>,
}

impl Local for Basket {
    fn has_news(&self) -> bool {
        !self.tray.is_empty()
    }

    fn collect(&mut self, keys: &mut Vec<Key>) {
        let mut parcels = Vec::new();
        self.tray.take(&mut parcels);
        for mut parcel in parcels {
            self.sum.add(*parcel.open().get_ref() as u64);
            keys.push(Key::new(1, 1));
        }
    }

    fn forget_one(&mut self) -> bool {
        false
    }

    fn end_turn(&mut self, _clock: &mut Clock<'_>) {}

    fn rest(&self) -> Option<Duration> {
        None
    }

    fn is_unused(&self) -> bool {
        false
    }
}

/// A loop with a basket, and the way back to it.
fn with_basket(fate: &Fate) -> (Loop, WayBack<Content, ()>, Arc<Counter>) {
    let mut it = Loop::serving(Manner::Polite, fate.socket());
    let sum = Arc::<Counter>::default();
    let tray = Tray::new(Box::new(it.handle().post), ());
    let way_back = tray.way_back();
    let basket = Basket { tray, sum: Arc::clone(&sum) };
    it.reactor.locals.place(1, || Box::new(basket));
    (it, way_back, sum)
}

/// W-15: what comes back to a loop is taken without another wake-up, whenever it comes.
///
/// Two threads return one parcel each at any moment of the loop's turns; the loop turns until it has both. A parcel that
/// it sleeps on is a deadlock, one that it reads before it was written a race. Absent: the loop's end (W-16).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Release of the push, Acquire of `take_all` -> Relaxed; a loop that does not
/// look at its locals before it sleeps.
#[test]
fn what_comes_back_is_taken() {
    model("loop-returns", Bound::Preemptions(2), || {
        let fate = Fate::new();
        let (mut it, way_back, sum) = with_basket(&fate);
        let others = [1, 2].map(|number| {
            let way_back = way_back.clone();
            thread::spawn(move || assert!(way_back.put(Parcel::new(Track::new(number))).is_ok()))
        });
        while sum.get() < 3 {
            it.turn();
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        drop((it, way_back));
        assert_eq!((sum.get(), fate.attached_and_dropped()), (3, (1, 1)));
    });
}

/// W-16: what comes back to a loop that ends, or has ended, is taken, stays in the tray and goes with it, or stays with
/// whoever returns it; it is dropped once.
///
/// The loop is stopped and dropped by its own thread while a parcel is on its way. Parcels are tracked. Absent: a second
/// parcel (W-15).
/// Kills: Release of the push, Acquire of the list's `close` -> Relaxed; a tray that stays open when its loop ends.
#[test]
fn what_comes_back_to_an_ending_loop_is_dropped_once() {
    model("loop-returns-at-the-end", Bound::Preemptions(3), || {
        let fate = Fate::new();
        let (mut it, way_back, _) = with_basket(&fate);
        let stopper = it.stopper();
        let other = thread::spawn(move || {
            stopper.stop();
            drop(way_back.put(Parcel::new(Track::new(7))));
            way_back
        });
        assert_eq!(it.run(), 1);
        drop(it);
        let way_back = other.join().unwrap();
        assert!(way_back.put(Parcel::new(Track::new(8))).is_err(), "the tray is closed");
        assert_eq!(fate.attached_and_dropped(), (1, 1));
    });
}
