//! What reaches a loop from other threads.

use std::fmt;

use super::dial::Request;
use super::{LoopMetrics, Reactor};
use crate::buffer::Chain;
use crate::conn::{AbortedByHandle, CloseReason, Command, Deliver, Door, Handle, Hold, Phase, Receipts};
use crate::conn::{SendError, SendFailure};
use crate::driver::{Driver, Key};
use crate::handover::{Mailbox, Post, Promise, Signal, Wake};
use crate::net::Dialer;
use crate::sync::Arc;

/// A message to a loop.
pub(crate) enum Mail<S> {
    /// A connection that another loop has accepted.
    Connection(S),
    /// Something for a connection.
    Command(Key, Command),
    /// A connection to be established, or to be taken in.
    Request(Request),
}

impl<S: Send + 'static> Deliver for Signal<Mail<S>> {
    fn wake(&self) {
        self.raise();
    }

    fn deliver(&self, key: Key, command: Command) -> Result<(), Command> {
        match self.post().send(Mail::Command(key, command)) {
            Err(Mail::Command(_, command)) => Err(command),
            _ => Ok(()),
        }
    }
}

impl<S: Send + 'static> Door for Mailbox<Mail<S>> {
    fn handle(&self, key: Key) -> Handle {
        Handle::new(key, Box::new(self.sender().signal(move || Mail::Command(key, Command::Wake))))
    }

    fn dialer(&self) -> Dialer {
        Dialer::over(vec![Box::new(self.sender())])
    }

    fn waker(&self) -> Box<dyn Wake> {
        Box::new(self.sender())
    }
}

impl<S> fmt::Debug for Mail<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(_) => f.write_str("Connection"),
            Self::Request(_) => f.write_str("Request"),
            Self::Command(key, _) => f.debug_tuple("Command").field(key).finish(),
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
        if any {
            self.metrics.mail.add(inbox.len() as u64);
        }
        for mail in inbox.drain(..) {
            match mail {
                Mail::Connection(socket) => self.attach(socket),
                Mail::Command(key, command) => self.carry_out_command(key, command),
                Mail::Request(request) => self.carry_out_request(request),
            }
        }
        self.sweep_dials();
        self.inbox = inbox;
        any
    }

    fn carry_out_command(&mut self, key: Key, command: Command) {
        let Some(connection) = self.slots.connection(key) else { return };
        match command {
            Command::Wake => self.call_woken(key),
            Command::Send(chain, promise) => self.send_for(key, chain, promise),
            Command::Close => self.finish(key, CloseReason::Finished),
            Command::Abort => self.close(key, CloseReason::Aborted(Box::new(AbortedByHandle))),
            Command::Detach(promise) => promise.fulfil(self.detach(key)),
            Command::Pause => {
                let act = connection.automaton.hold(Hold::Pause);
                self.carry_out(key, act);
                // The handler is kept from reading: the peer's time to complete a message stands still.
                self.mind_reading(key, false);
            }
            Command::Resume => {
                let act = connection.automaton.release(Hold::Pause);
                self.carry_out(key, act);
            }
        }
    }

    /// Sends what another thread wants to have sent.
    fn send_for(&mut self, key: Key, chain: Chain, promise: Promise<Result<(), SendError>>) {
        let Some(connection) = self.slots.connection(key) else { return };
        let (bytes, unsent) = (chain.len(), connection.automaton.unsent());
        if bytes == 0 {
            return connection.promise_sent(promise);
        }
        let refused = if connection.automaton.phase() != Phase::Open || connection.automaton.is_shut() {
            Some(SendFailure::Closed)
        } else if unsent.saturating_add(bytes) > self.options.most_unsent {
            Some(SendFailure::Full)
        } else {
            None
        };
        if let Some(why) = refused {
            return promise.fulfil(Err(SendError { taken: 0, why }));
        }
        connection.receipts.get_or_insert_with(|| Box::new(Receipts::new(unsent))).promise(bytes, promise);
        let taken = self.driver.send(key, chain, None);
        self.metrics.sent.add(taken as u64);
        let act = connection.passed(bytes, taken);
        self.passed(key, taken, act);
        self.mind_reading(key, false);
    }
}
