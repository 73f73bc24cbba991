//! What a driver has done, in numbers, for people who ask.

use std::fmt;

use crate::session::{Counters, SessionError};

/// What a driver has done so far.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Sessions that listeners have accepted.
    pub sessions_accepted: u64,
    /// Sessions that are open now.
    pub sessions_open: u64,
    /// Handshakes that came to nothing.
    pub handshakes_failed: u64,
    /// Sessions that ended because the peer broke the protocol.
    pub violations: u64,
    /// Sessions whose peer was gone without having ended its direction.
    pub peers_gone: u64,
    /// Sessions that ended for another error.
    pub other_errors: u64,
    /// Looks at active sessions without a system call.
    pub looks: u64,
    /// Those of them that found something.
    pub looks_that_paid: u64,
    /// What all sessions have done together, also those that are closed.
    pub traffic: Counters,
}

impl Statistics {
    /// Counts a session's end.
    pub(super) fn count(&mut self, error: &SessionError) {
        match error {
            SessionError::Violation(_)
            | SessionError::OutOfPlace
            | SessionError::Bulk(_)
            | SessionError::Arena(_)
            | SessionError::TooMuchMemory => self.violations += 1,
            SessionError::PeerGone | SessionError::NobodyReads => self.peers_gone += 1,
            _ => self.other_errors += 1,
        }
    }
}

/// Lines of `name value`.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = [
            ("sessions_accepted", self.sessions_accepted),
            ("sessions_open", self.sessions_open),
            ("handshakes_failed", self.handshakes_failed),
            ("violations", self.violations),
            ("peers_gone", self.peers_gone),
            ("other_errors", self.other_errors),
            ("looks", self.looks),
            ("looks_that_paid", self.looks_that_paid),
        ];
        for (name, value) in own.into_iter().chain(self.traffic.named()) {
            writeln!(f, "{name} {value}")?;
        }
        Ok(())
    }
}
