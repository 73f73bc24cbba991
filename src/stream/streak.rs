//! Letting others have their turn.

use std::task::Waker;

/// Calls in a row that need not wait. As many as tokio lets a task make on its own sockets.
const LONGEST: u8 = 128;

/// Counts the calls of a task that were ready at once. An executor of one thread runs a task until it waits, and a task
/// whose peer keeps up with it never would.
#[derive(Debug, Default)]
pub(super) struct Streak(u8);

impl Streak {
    /// Whether the task is to wait now, though it need not; then it is woken at once.
    pub(super) fn is_over(&mut self, waker: &Waker) -> bool {
        self.0 += 1;
        if self.0 <= LONGEST {
            return false;
        }
        self.end();
        waker.wake_by_ref();
        true
    }

    /// The task waits by itself.
    pub(super) fn end(&mut self) {
        self.0 = 0;
    }
}
