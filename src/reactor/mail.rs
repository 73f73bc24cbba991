//! What reaches a loop from other threads.

use std::fmt;

use super::{LoopMetrics, Reactor};
use crate::driver::Driver;
use crate::handover::Post;
use crate::sync::Arc;

/// A message to a loop.
pub enum Mail<S> {
    /// A connection that another loop has accepted.
    Connection(S),
}

impl<S> fmt::Debug for Mail<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(_) => f.write_str("Connection"),
        }
    }
}

/// Reaches a loop from other threads.
#[derive(Debug)]
pub struct LoopHandle<S> {
    pub(crate) post: Post<Mail<S>>,
    /// What the loop counts.
    pub metrics: Arc<LoopMetrics>,
}

impl<S> Clone for LoopHandle<S> {
    fn clone(&self) -> Self {
        Self { post: self.post.clone(), metrics: Arc::clone(&self.metrics) }
    }
}

impl<D: Driver> Reactor<D> {
    /// Reads the mail. Answers whether there was any.
    pub(super) fn read_mail(&mut self) -> bool {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.mailbox.take(&mut inbox);
        let any = !inbox.is_empty();
        for mail in inbox.drain(..) {
            match mail {
                Mail::Connection(socket) => self.attach(socket),
            }
        }
        self.inbox = inbox;
        any
    }
}
