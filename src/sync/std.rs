//! The primitives that ship.
#![expect(clippy::disallowed_types, reason = "this is the place the others are sent to")]

use std::cell::Cell;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

pub use std::sync::Arc;
pub use std::sync::atomic::fence;
pub use std::thread;

use super::{Bell, Ordering};

// Types of our own, and not re-exports: only so can `clippy.toml` tell these uses from those of `std`.
macro_rules! atomic {
    ($name:ident, $value:ty $(, $parameter:ident)?) => {
        /// The atomic of `std`.
        #[derive(Debug)]
        #[repr(transparent)]
        pub struct $name$(<$parameter>)?(std::sync::atomic::$name$(<$parameter>)?);

        impl$(<$parameter>)? $name$(<$parameter>)? {
            /// Creates the atomic.
            #[inline(always)]
            pub const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }
            /// As in `std`.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }
            /// As in `std`.
            #[inline(always)]
            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }
            /// As in `std`.
            #[inline(always)]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, order)
            }
            /// As in `std`.
            #[inline(always)]
            pub fn compare_exchange(
                &self, current: $value, new: $value, success: Ordering, failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty: $($operation:ident)*) => {
        impl $name {
            $(
                /// As in `std`.
                #[inline(always)]
                pub fn $operation(&self, value: $value, order: Ordering) -> $value {
                    self.0.$operation(value, order)
                }
            )*
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicPtr, *mut T, T);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
arithmetic!(AtomicU64, u64: fetch_add fetch_sub fetch_or fetch_and fetch_max);
arithmetic!(AtomicUsize, usize: fetch_add fetch_sub fetch_or fetch_and fetch_max);

/// `std::cell::UnsafeCell` with loom's closure interface.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    /// Calls `read` with a pointer that may be read from.
    #[inline(always)]
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Calls `write` with a pointer that may be written through.
    #[inline(always)]
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// Stands for the bytes of a block. It ships as nothing; the model checker has one cell per byte.
#[derive(Debug)]
pub struct Witness;

impl Witness {
    /// A witness for `_bytes` bytes.
    #[inline(always)]
    #[must_use]
    pub const fn new(_bytes: usize) -> Self {
        Self
    }

    /// States that the bytes from `_from` on, `_len` of them, are read now.
    #[inline(always)]
    pub fn read(&self, _from: usize, _len: usize) {}

    /// States that the bytes from `_from` on, `_len` of them, are written now.
    #[inline(always)]
    pub fn write(&self, _from: usize, _len: usize) {}
}

/// A value whose leak the model checker reports.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Track<T>(T);

impl<T> Track<T> {
    /// Starts tracking.
    #[inline(always)]
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The tracked value.
    #[inline(always)]
    pub fn get_ref(&self) -> &T {
        &self.0
    }
}

/// Identifies a thread. Two tokens are equal only when they were taken on the same thread: a token is never used
/// again, not even after its thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadToken(u64);

impl ThreadToken {
    /// The calling thread's token.
    #[inline]
    #[must_use]
    pub fn current() -> Self {
        thread_local! { static TOKEN: Cell<u64> = const { Cell::new(0) } }
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TOKEN.with(|token| {
            if token.get() == 0 {
                // ORDERING: Relaxed, no partner: only the uniqueness of the number matters.
                token.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            Self(token.get())
        })
    }
}

/// A number that no other call answers.
#[must_use]
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // ORDERING: Relaxed, no partner: only the uniqueness of the number matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A place where one thread sleeps until it is rung for.
#[derive(Debug, Default)]
pub(super) struct Seat {
    rung: Mutex<bool>,
    change: Condvar,
}

impl Seat {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Sleeps until somebody has rung since the last sleep ended.
    pub(super) fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.change.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }

    /// As [`wait`](Self::wait), but not longer than until `deadline`.
    pub(super) fn wait_until(&self, deadline: Instant) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            rung = self.change.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }

    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.change.notify_all();
    }
}

/// The calling thread's seat; always the same one.
pub(super) fn seat() -> Arc<Seat> {
    thread_local! { static SEAT: Arc<Seat> = Arc::new(Seat::new()) }
    SEAT.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Seat::new()))
}

/// A bell and the sleep it ends, without a kernel.
#[derive(Debug, Default)]
pub struct FakeBell(Seat);

impl FakeBell {
    /// A silent bell.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until the bell has rung since the last sleep ended.
    pub fn wait(&self) {
        self.0.wait();
    }
}

impl Bell for FakeBell {
    fn ring(&self) {
        self.0.ring();
    }
}

/// A queue of any number of things from any threads to any threads: `crossbeam_queue::SegQueue`. A thing that was pushed
/// happens before whoever pops it.
#[derive(Debug)]
pub struct Queue<T>(crossbeam_queue::SegQueue<T>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self(crossbeam_queue::SegQueue::new())
    }

    /// Adds something at the back.
    #[inline]
    pub fn push(&self, item: T) {
        self.0.push(item);
    }

    /// Takes what is at the front.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    /// Whether there was nothing at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Nanoseconds since some moment in the past, for differences.
#[inline]
#[must_use]
pub fn ticks() -> u64 {
    thread_local! { static START: Instant = Instant::now() }
    START.with(|start| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
