//! The moments at which a connection's patience ends.

use std::time::Instant;

use super::CloseReason;

/// What there is a deadline for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// A byte goes either way.
    Idle,
    /// The message that has begun is whole.
    Read,
    /// The peer takes some of what is owed to it.
    Write,
    /// The peer ends its direction, after we have ended ours.
    Linger,
}

impl Limit {
    const ALL: [Self; 4] = [Self::Idle, Self::Read, Self::Write, Self::Linger];

    /// What a connection is closed for when the moment has come.
    pub(crate) fn reason(self) -> CloseReason {
        match self {
            Self::Idle => CloseReason::IdleExpired,
            Self::Read => CloseReason::ReadExpired,
            Self::Write => CloseReason::WriteExpired,
            Self::Linger => CloseReason::Finished,
        }
    }
}

/// One connection's deadlines.
#[derive(Debug, Default)]
pub(crate) struct Deadlines([Option<Instant>; Limit::ALL.len()]);

impl Deadlines {
    #[inline]
    pub(crate) fn get(&self, limit: Limit) -> Option<Instant> {
        self.0[limit as usize]
    }

    #[inline]
    pub(crate) fn set(&mut self, limit: Limit, at: Option<Instant>) {
        self.0[limit as usize] = at;
    }

    /// The first of them.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes one that has passed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Limit> {
        let due = Limit::ALL.into_iter().find(|limit| self.get(*limit).is_some_and(|at| at <= now))?;
        self.set(due, None);
        Some(due)
    }
}
