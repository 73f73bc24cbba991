//! Drivers with one fault each, to test the suite: a case that no fault fails proves nothing.

mod driver;
mod fault;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use linkpoll::buffer::Segment;
use linkpoll::driver::{Driver, Key};
use linkpoll::net::Address;

pub use driver::Broken;
pub use fault::{FAULTS, Fault};

use crate::{Ability, Bed, Case, Dialled, Family, Listening, cases};

/// Drivers of a bed, with a fault.
#[derive(Clone, Copy, Debug)]
pub struct BrokenBed<B> {
    /// Makes sound drivers.
    pub sound: B,
    /// What is put into them.
    pub fault: Fault,
}

impl<B: Bed> Bed for BrokenBed<B> {
    type Driver = Broken<B::Driver>;
    type Peer = B::Peer;

    fn driver(&self, memory: usize) -> Self::Driver {
        Broken::new(self.sound.driver(memory), self.fault)
    }

    fn families(&self) -> &'static [Family] {
        self.sound.families()
    }

    fn has(&self, ability: Ability) -> bool {
        self.sound.has(ability)
    }

    fn pair(&self, family: Family, patience: Duration) -> (Self::Peer, <Self::Driver as Driver>::Socket) {
        self.sound.pair(family, patience)
    }

    fn dial(&self, address: &Address, patience: Duration) -> Dialled<Self::Peer> {
        self.sound.dial(address, patience)
    }

    fn listen(&self, address: &Address, patience: Duration) -> Listening<Self::Peer> {
        self.sound.listen(address, patience)
    }

    fn silence(&self) -> (Address, Box<dyn Any>) {
        self.sound.silence()
    }

    fn room(&self) -> usize {
        self.sound.room()
    }

    fn crowd(&self) -> usize {
        self.sound.crowd()
    }

    fn piece(&self, driver: &mut Self::Driver, key: Key, piece: Segment) -> Segment {
        self.sound.piece(driver.inner(), key, piece)
    }

    fn patience(&self) -> Duration {
        // A fault may well be that nothing happens any more.
        Duration::from_millis(250)
    }
}

/// Whether a case fails on a bed's drivers with this fault.
#[must_use]
pub fn is_caught<B: Bed>(bed: BrokenBed<B>, run: fn(&BrokenBed<B>)) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(&bed))).is_err_and(|panic| {
        drop::<Box<dyn Any + Send>>(panic);
        true
    })
}

/// How often a case may try to notice a fault: whoever has no processor for a while keeps nobody busy, and hides one that
/// favours the busy.
const TRIES: usize = 5;

/// Puts every fault into drivers of a bed, and runs the cases that must notice it, as far as they apply. Answers those that
/// did not, by fault and name. Not among them is the case that changes a limit of the process.
#[must_use]
pub fn missed<B: Bed + Copy + Sync>(sound: B) -> Vec<String> {
    let check = |fault: Fault, names: &[&str]| -> Vec<String> {
        let bed = BrokenBed { sound, fault };
        let must_notice = |case: &&Case<BrokenBed<B>>| names.contains(&case.name) && case.applies(&bed);
        let cases = cases();
        let missed =
            cases.iter().filter(must_notice).filter(|case| !(0..TRIES).any(|_| is_caught(bed, case.run)));
        missed.map(|case| format!("{fault:?} passes {}", case.name)).collect()
    };
    let check = &check;
    thread::scope(|scope| {
        let checks: Vec<_> =
            FAULTS.iter().map(|(fault, names)| scope.spawn(move || check(*fault, names))).collect();
        checks.into_iter().flat_map(|each| each.join().expect("a case panics inside of its catch")).collect()
    })
}

impl<D: Driver> std::fmt::Debug for Broken<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broken").field("fault", &self.fault()).finish_non_exhaustive()
    }
}
