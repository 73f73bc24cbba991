//! The primitives of the model checker. Each atomic operation passes through the ordering ledger.
#![expect(clippy::disallowed_types, reason = "what only one thread of a fake uses is outside of the model")]

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::Instant;

pub use loom::alloc::Track;
pub use loom::cell::UnsafeCell;
pub use loom::sync::Arc;
pub use loom::thread;

use super::ledger::{Operation, site};
use super::{Bell, Ordering};

/// Makes the loads of one atomic depend on each other.
///
/// To loom two loads commute, and of each atomic it remembers the last access only. A thread that loads and then
/// writes (`load`, `compare_exchange`) therefore hides an earlier load of another thread behind its own, and the
/// schedule in which that other load comes after the write is never explored (loom #166). A relaxed store to a word
/// of its own before each load orders nothing and is never read, but makes loom try both orders.
#[derive(Debug)]
struct Turn(loom::sync::atomic::AtomicBool);

impl Turn {
    #[track_caller]
    fn new() -> Self {
        Self(loom::sync::atomic::AtomicBool::new(false))
    }

    #[track_caller]
    fn take(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// loom's atomic, seen by the ordering ledger.
        #[derive(Debug)]
        pub struct $name(loom::sync::atomic::$name, Turn);

        impl $name {
            /// Creates the atomic.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value), Turn::new())
            }
            atomic!(@operations $value);
        }
    };
    (@operations $value:ty) => {
        /// As in `std`.
        #[track_caller]
        pub fn load(&self, order: Ordering) -> $value {
            self.1.take();
            self.0.load(site(Location::caller(), Operation::Load, order))
        }
        /// As in `std`.
        #[track_caller]
        pub fn store(&self, value: $value, order: Ordering) {
            self.0.store(value, site(Location::caller(), Operation::Store, order));
        }
        /// As in `std`.
        #[track_caller]
        pub fn swap(&self, value: $value, order: Ordering) -> $value {
            self.0.swap(value, site(Location::caller(), Operation::Swap, order))
        }
        /// As in `std`.
        #[track_caller]
        pub fn compare_exchange(
            &self, current: $value, new: $value, success: Ordering, failure: Ordering,
        ) -> Result<$value, $value> {
            let success = site(Location::caller(), Operation::ExchangeSuccess, success);
            let failure = site(Location::caller(), Operation::ExchangeFailure, failure);
            self.0.compare_exchange(current, new, success, failure)
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty) => {
        impl $name {
            /// As in `std`.
            #[track_caller]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_add(value, site(Location::caller(), Operation::FetchAdd, order))
            }
            /// As in `std`.
            #[track_caller]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_sub(value, site(Location::caller(), Operation::FetchSub, order))
            }
            /// As in `std`.
            #[track_caller]
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_or(value, site(Location::caller(), Operation::FetchOr, order))
            }
            /// As in `std`.
            #[track_caller]
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_and(value, site(Location::caller(), Operation::FetchAnd, order))
            }
            /// As in `std`.
            #[track_caller]
            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_max(value, site(Location::caller(), Operation::FetchMax, order))
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
arithmetic!(AtomicU64, u64);
arithmetic!(AtomicUsize, usize);

/// loom's atomic, seen by the ordering ledger.
#[derive(Debug)]
pub struct AtomicPtr<T>(loom::sync::atomic::AtomicPtr<T>, Turn);

impl<T> AtomicPtr<T> {
    /// Creates the atomic.
    #[track_caller]
    pub fn new(value: *mut T) -> Self {
        Self(loom::sync::atomic::AtomicPtr::new(value), Turn::new())
    }
    atomic!(@operations *mut T);
}

/// As in `std`; the ledger may weaken it, and takes a fence weakened to `Relaxed` as absent.
#[track_caller]
pub fn fence(order: Ordering) {
    match site(Location::caller(), Operation::Fence, order) {
        Ordering::Relaxed => {}
        order => loom::sync::atomic::fence(order),
    }
}

/// One loom cell per byte of a block, so that an unordered access to the same byte is reported, while a tail may
/// be written next to segments that are read.
#[derive(Debug)]
pub struct Witness(Box<[UnsafeCell<()>]>);

impl Witness {
    /// A witness for `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self((0..bytes).map(|_| UnsafeCell::new(())).collect())
    }

    /// States that the bytes from `from` on, `len` of them, are read now.
    #[track_caller]
    pub fn read(&self, from: usize, len: usize) {
        self.0[from..from + len].iter().for_each(|cell| cell.with(|_| ()));
    }

    /// States that the bytes from `from` on, `len` of them, are written now.
    #[track_caller]
    pub fn write(&self, from: usize, len: usize) {
        self.0[from..from + len].iter().for_each(|cell| cell.with_mut(|_| ()));
    }
}

/// Identifies a thread of the current execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadToken(thread::ThreadId);

impl ThreadToken {
    /// The calling thread's token.
    #[must_use]
    pub fn current() -> Self {
        Self(thread::current().id())
    }
}

/// A number that no other call answers. Nothing is ordered by it, so the model checker need not know.
#[must_use]
pub fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A bell and the sleep it ends, without a kernel.
///
/// MODEL: an eventfd, and the `epoll_wait` that reports it. The counter is Relaxed, because a system call promises
/// no ordering of user memory; a fake built on a mutex would add just the edges that the code under test must
/// bring itself. `Notify` gives the blocking, a clean deadlock report for a lost wake-up, and a spurious return,
/// which stands for every other reason `epoll_wait` has to return. It also orders the ringer's memory before a sleep
/// that it ends, so it is only asked when nothing has rung yet: a ring from before the sleep ends it by the counter,
/// and its notification is thrown away by the next sleep.
#[derive(Debug)]
pub struct FakeBell {
    rings: loom::sync::atomic::AtomicUsize,
    notify: loom::sync::Notify,
    /// Whether `notify` has, or is about to get, a notification of a ring that has ended a sleep by the counter.
    /// Only the sleeper uses it, so the model checker need not know.
    late: std::sync::atomic::AtomicBool,
}

impl Default for FakeBell {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeBell {
    /// A silent bell.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rings: loom::sync::atomic::AtomicUsize::new(0),
            notify: loom::sync::Notify::new(),
            late: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Sleeps until the bell has rung since the last sleep ended, or returns for no reason.
    pub fn wait(&self) {
        if self.has_rung() {
            self.late.store(true, Ordering::Relaxed);
            return;
        }
        loop {
            self.notify.wait();
            if self.has_rung() || !self.late.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }

    fn has_rung(&self) -> bool {
        // ORDERING: Relaxed on purpose, see MODEL above.
        self.rings.swap(0, Ordering::Relaxed) > 0
    }
}

impl Bell for FakeBell {
    fn ring(&self) {
        // ORDERING: Relaxed on purpose, see MODEL above.
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.notify.notify();
    }
}

/// A place where one thread sleeps until it is rung for.
///
/// MODEL: a mutex and a condition variable. They would order the ringer's memory before the sleeper's; a fake bell
/// does not, so that code stands on its own words.
#[derive(Debug, Default)]
pub(super) struct Seat(FakeBell);

impl Seat {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn wait(&self) {
        self.0.wait();
    }

    /// MODEL: time stands still, so a deadline that lies ahead never comes. That it comes is modelled by deadlines
    /// that have passed.
    pub(super) fn wait_until(&self, _deadline: Instant) {
        self.0.wait();
    }

    pub(super) fn ring(&self) {
        self.0.ring();
    }
}

/// A seat for the calling thread. Not the same one each time: it must not outlive the execution.
pub(super) fn seat() -> std::sync::Arc<Seat> {
    std::sync::Arc::default()
}

/// A queue of any number of things from any threads to any threads.
///
/// MODEL: what `crossbeam_queue::SegQueue` promises, and little more. The things lie in a mutex that loom does not see.
/// Their number is read Relaxed, so `pop` and `is_empty` may miss what was pushed and is not ordered before them; it
/// carries the edge from a push to its pop, and with it those from earlier pushes. No pop is ordered before anything.
#[derive(Debug)]
pub struct Queue<T> {
    items: std::sync::Mutex<VecDeque<T>>,
    len: loom::sync::atomic::AtomicUsize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { items: std::sync::Mutex::default(), len: loom::sync::atomic::AtomicUsize::new(0) }
    }

    fn items(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something at the back.
    pub fn push(&self, item: T) {
        self.items().push_back(item);
        self.len.fetch_add(1, Ordering::Release);
    }

    /// Takes what is at the front.
    pub fn pop(&self) -> Option<T> {
        let mut len = self.len.load(Ordering::Relaxed);
        while len > 0 {
            match self.len.compare_exchange(len, len - 1, Ordering::Acquire, Ordering::Relaxed) {
                // One is there: they are put in before they are counted, and counted off before they are taken out.
                Ok(_) => return self.items().pop_front(),
                Err(now) => len = now,
            }
        }
        None
    }

    /// Whether there was nothing at this moment.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }
}

/// MODEL: time stands still, so that every execution is the same each time.
#[must_use]
pub fn ticks() -> u64 {
    0
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "what all executions have seen is outside of the model")]
mod models {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;
    use crate::sync::model::{Bound, model};

    /// S-1: a load is explored on either side of another thread's write, also when that thread loads first.
    ///
    /// Two threads load and then add; the main thread loads once, and over all executions must have seen every sum.
    /// It is a model of the model checker: without `Turn` it sees nothing but zero. Absent: memory orderings.
    /// Kills: no ordering, but a `load` without its turn.
    #[test]
    fn a_load_hides_no_schedule() {
        static SEEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
        model("sync-turn", Bound::Exhaustive, || {
            let sum = Arc::new(AtomicUsize::new(0));
            let adders = [0, 1].map(|_| {
                let sum = Arc::clone(&sum);
                thread::spawn(move || {
                    sum.load(Ordering::Relaxed);
                    sum.fetch_add(1, Ordering::Relaxed);
                })
            });
            let seen = sum.load(Ordering::Relaxed);
            SEEN.lock().expect("no execution panics").insert(seen);
            adders.into_iter().for_each(|adder| adder.join().expect("an adder does not panic"));
        });
        let seen: Vec<usize> = SEEN.lock().expect("no execution panics").iter().copied().collect();
        assert_eq!(seen, [0, 1, 2]);
    }

    /// A ring orders nothing: who was woken by it need not see what the ringer did before.
    ///
    /// Two ringers each raise a word and ring. That the sleeper wakes to a ring and misses both words must happen in
    /// some execution, or a loop that sleeps again without another look would pass. It is a model of the fake: when
    /// `wait` asks `Notify` first, it does not happen. Absent: a flag, which keeps the ringers of a loop apart.
    /// Kills: no ordering, but a `wait` that does not look at its counter first.
    #[test]
    fn a_ring_orders_nothing() {
        static MISSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        model("sync-ring", Bound::Exhaustive, || {
            let bell = std::sync::Arc::new(FakeBell::new());
            let words = std::sync::Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let ringers = [0, 1].map(|own| {
                let (bell, words) = (std::sync::Arc::clone(&bell), std::sync::Arc::clone(&words));
                thread::spawn(move || {
                    words[own].store(true, Ordering::Relaxed);
                    bell.ring();
                })
            });
            bell.wait();
            let rung = bell.late.load(Ordering::Relaxed);
            let seen = words.iter().any(|word| word.load(Ordering::Relaxed));
            MISSED.fetch_or(rung && !seen, Ordering::Relaxed);
            ringers.into_iter().for_each(|ringer| ringer.join().expect("a ringer does not panic"));
        });
        assert!(MISSED.load(Ordering::Relaxed), "every ring has shown what came before it");
    }
}
