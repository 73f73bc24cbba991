//! How threads hand things to a loop, and to each other: the lock-free protocols that everything else is made of.
//!
//! * `PushList`: any thread pushes, one thread takes all. Closing it is sticky.
//! * `SleepFlag`: the owner says that it is about to sleep, a pusher that sees it wakes the owner, and no wake-up
//!   is lost or sent twice.
//! * `Signal`: a message without content that is under way at most once, and costs no allocation.
//! * `SleepSet`: several threads that sleep, one of which is woken.
//! * `Tray`: parcels that go out and come back, without an allocation.
//! * `WakerSlot`: where one task or thread leaves its waker, to be woken when there are news; `Wakes`: wakers taken from
//!   slots, to be woken together.
//! * `Queue`: messages for an owner that is woken by something else.
//! * [`oneshot()`]: one value, which a task or a blocked thread waits for.
//!
//! A [`Mailbox`] is list and flag with messages in it: the way work reaches a loop. The block pool uses both for blocks that
//! are dropped on a foreign thread and for an owner that has run out of blocks.
//!
//! # The race that matters
//!
//! ```text
//!   owner                               pusher
//!   -----                               ------
//!   arm:   asleep = true                push:  head = node        (Release)
//!          fence(SeqCst)        F1      take:  fence(SeqCst)               F2
//!          is the list empty?                  is asleep set?
//!          yes: sleep in the kernel            yes, and I reset it: ring the bell
//! ```
//!
//! Both sides write, fence, then read what the other wrote. Whichever fence comes first in the order of all SeqCst
//! fences, the other side's read sees the write before it: either the owner sees the node and does not sleep, or
//! the pusher sees the flag and rings. Without one of the fences both may read old values, and the owner sleeps on
//! a node that nobody announces (X-34). The models in `models.rs` fail in just that way when a fence is weakened.

mod mailbox;
#[cfg(test)]
mod models;
mod oneshot;
mod push_list;
mod queue;
mod signal;
mod sleep_flag;
mod sleep_set;
mod tray;
mod waker_slot;
mod wakes;

pub use mailbox::{Mailbox, Post};
pub use oneshot::{Abandoned, Pending, Promise, oneshot};
pub(crate) use push_list::{Linked, PushList};
pub(crate) use queue::Queue;
pub(crate) use signal::Signal;
pub(crate) use sleep_flag::SleepFlag;
pub(crate) use sleep_set::SleepSet;
pub(crate) use tray::{Parcel, Tray, WayBack};
pub(crate) use waker_slot::WakerSlot;
pub(crate) use wakes::Wakes;

/// A thread that can be woken from its sleep, from any other.
pub(crate) trait Wake: Send + Sync {
    /// Wakes it if it sleeps.
    fn wake(&self);
}
