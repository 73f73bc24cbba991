//! What the kernel has reported, and how far it is worked off.

use super::{Readiness, Ready};
use crate::driver::Key;

/// What the kernel has reported, and how far it is worked off.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ready: Vec<Ready>,
    pub(super) at: usize,
    /// What is left to do for the entry before `at`.
    pub(super) current: Option<Current>,
    /// Waits in a row that used little of `ready`.
    sparse: u32,
}

/// A connection that is being received from, or a listener that is being accepted from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) key: Key,
    pub(super) readiness: Readiness,
    /// Bytes, or connections, still allowed in this turn.
    pub(super) budget: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { ready: Vec::with_capacity(Self::FEWEST_EVENTS), at: 0, current: None, sparse: 0 }
    }
}

impl Batch {
    /// The fewest and the most events asked for in one wait.
    const FEWEST_EVENTS: usize = 64;
    const MOST_EVENTS: usize = 4096;
    /// Waits in a row that must use less than a quarter of the room before it is halved.
    const SPARSE_WAITS: u32 = 256;

    /// Whether all of it is worked off.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.ready.len() && self.current.is_none()
    }

    /// Makes room for more events when all of it was used, for fewer when little of it was used for long.
    pub(super) fn resize(&mut self, used: usize) {
        let room = self.ready.capacity();
        self.sparse = if used < room / 4 { self.sparse.saturating_add(1) } else { 0 };
        let new = if used >= room && room < Self::MOST_EVENTS {
            room * 2
        } else if self.sparse >= Self::SPARSE_WAITS && room >= 2 * Self::FEWEST_EVENTS {
            room / 2
        } else {
            return;
        };
        self.sparse = 0;
        let mut resized = Vec::with_capacity(new);
        resized.append(&mut self.ready);
        self.ready = resized;
    }
}
