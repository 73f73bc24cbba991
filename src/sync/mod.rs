//! Atomics, cells and threads, from `std` or from loom.
//!
//! This is the only room that knows `cfg(linkpoll_loom)`. Everything else in the workspace takes its atomics and
//! cells from here (`clippy.toml` bans the others), so that the code the model checker explores *is* the code that
//! ships: the same state words, transitions and orderings, with only the primitives underneath exchanged.
//!
//! | item | ships as | under the model checker |
//! |---|---|---|
//! | `Atomic*`, [`fence`] | `std::sync::atomic` | loom's, wrapped so that each use is a *site* of the ordering ledger |
//! | [`UnsafeCell`] | a transparent newtype | loom's, which reports unordered accesses |
//! | [`Witness`] | nothing | one loom cell per byte of a block |
//! | [`Track`] | a transparent newtype | loom's leak check |
//! | [`ThreadToken`] | a number never used twice | loom's thread id |
//! | [`unique`] | a number never answered twice | the same |
//! | [`FakeBell`], [`Parker`] | mutex and condvar | a relaxed counter and `loom::sync::Notify` |
//! | [`Queue`] | `crossbeam_queue::SegQueue` | a list that promises no more than it does |
//! | [`ticks`] | a clock | zero |
//! | [`shrink`] | its first argument | its second |
//!
//! The module is public, but hidden from the documentation: it serves the other packages of this workspace and is
//! not covered by any promise of stability.

mod counter;
pub mod model;
mod parker;

#[cfg(linkpoll_loom)]
#[path = "loom.rs"]
mod imp;
#[cfg(not(linkpoll_loom))]
#[path = "std.rs"]
mod imp;
#[cfg(linkpoll_loom)]
mod ledger;

pub use counter::Counter;
pub(crate) use counter::counters;
pub use imp::{
    Arc, AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, FakeBell, Queue, ThreadToken, Track, UnsafeCell,
    Witness, fence, thread, ticks, unique,
};
pub use parker::Parker;
/// What a waker is made of, whoever checks.
#[cfg(test)]
pub(crate) use std::sync::Arc as WakerArc;
pub use std::sync::atomic::Ordering;

// A build that expects models must have them: a stray `RUSTFLAGS` that replaces the flags of `cargo loom` would
// otherwise turn every model into a single run on real threads, and stay green.
const _: () = assert!(
    option_env!("LINKPOLL_EXPECT_LOOM").is_none() || cfg!(linkpoll_loom),
    "LINKPOLL_EXPECT_LOOM is set, but this build has no cfg(linkpoll_loom): RUSTFLAGS has replaced the flags"
);

/// A size that ships as `shipped` and is `modelled` under the model checker, where small structures reach their
/// wrap-around in few steps.
#[must_use]
pub const fn shrink(shipped: usize, modelled: usize) -> usize {
    if cfg!(linkpoll_loom) { modelled } else { shipped }
}

/// The way to end another thread's sleep in the kernel. Ringing never blocks and is never lost: a bell that rings
/// before its owner sleeps ends that sleep at once.
pub trait Bell: Send + Sync + 'static {
    /// Ends the owner's current sleep, or the next one.
    fn ring(&self);
}
