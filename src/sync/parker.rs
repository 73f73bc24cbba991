//! Blocking a thread until a [`Waker`] wakes it, so that threads and tasks wait in the same way.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::imp::{Seat, seat};

/// The calling thread as something that can be woken.
///
/// A wake-up before the sleep is kept and ends it at once; two of them count as one. A sleep may also end for no
/// reason, so what is waited for must be looked at again.
#[derive(Debug)]
pub struct Parker {
    seat: Arc<Seat>,
}

impl Parker {
    /// The calling thread's.
    #[must_use]
    pub fn current() -> Self {
        Self { seat: seat() }
    }

    /// One that no other code knows, for the one thread that will sleep there.
    #[must_use]
    pub fn new() -> Self {
        Self { seat: Arc::new(Seat::new()) }
    }

    /// Wakes the thread that sleeps there, or will.
    pub fn unpark(&self) {
        self.seat.ring();
    }

    /// Wakes this thread, from any other.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.seat))
    }

    /// Sleeps until woken. To be called by the thread that made it.
    pub fn park(&self) {
        self.seat.wait();
    }

    /// Sleeps until woken, or until `deadline`.
    pub fn park_until(&self, deadline: Instant) {
        self.seat.wait_until(deadline);
    }
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
