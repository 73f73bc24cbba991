//! The latch: a session is over once, for one reason, and nothing of the peer's is looked at after it.

use super::{Session, SessionError};

impl Session {
    /// Fails if the session is over.
    #[inline]
    pub(super) fn live(&self) -> Result<(), SessionError> {
        match &self.over {
            None => Ok(()),
            Some(error) => Err(SessionError::clone(error)),
        }
    }

    /// Passes on what came of an operation. If it was the end of the session, it is remembered.
    #[inline]
    pub(super) fn latch<T>(&mut self, done: Result<T, SessionError>) -> Result<T, SessionError> {
        done.inspect_err(|error| self.remember(error))
    }

    #[cold]
    fn remember(&mut self, error: &SessionError) {
        // A peer that is gone has not broken anything: what it had published is still received.
        let is_absence = matches!(error, SessionError::PeerGone | SessionError::NobodyReads);
        if !is_absence && self.over.is_none() {
            self.over = Some(Box::new(error.clone()));
        }
    }
}
