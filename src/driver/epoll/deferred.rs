//! Sending for many connections with one call, where the kernel can.
//!
//! Bytes given to `send` are kept, and their connection is noted. At the end of the batch, when every event has been
//! told, everything noted is sent in one call; what was given after that goes out before the next wait. What the call
//! answers is told as [`Event::Sent`](crate::driver::Event::Sent). Each connection has a result of its own: one that
//! did not take everything goes on by itself, until it is full and waits for room; one that is broken fails; and the
//! others do not notice.

use std::io;
use std::os::fd::AsFd as _;

use super::kernel::SendEntry;
use super::path::{Outcome, SendPath, Tools};
use super::slot::{Kind, Unsent};
use super::{Epoll, Kernel};
use crate::buffer::Chain;
use crate::driver::{Key, Token};

/// Connections whose bytes go out together, and what is used again.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    keys: Vec<Key>,
    results: Vec<(Key, io::Result<usize>)>,
    /// Emptied, to be used again: without them each message would cost an allocation.
    #[expect(
        clippy::vec_box,
        reason = "slots hold boxes, so that idle ones are small; these go back and forth"
    )]
    spare: Vec<Box<Unsent>>,
    /// The end of the present batch was reached already.
    ended: bool,
}

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// Keeps the first bytes of a connection that has none waiting.
    #[inline(never)]
    pub(super) fn defer(&mut self, key: Key, chain: Chain, token: Option<Token>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let mut unsent = self.deferred.spare.pop().unwrap_or_default();
        unsent.append(chain, token);
        slot.unsent = Some(unsent);
        self.defer_waiting(key);
    }

    /// Notes a connection whose bytes are to go out with the others'.
    pub(super) fn defer_waiting(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key)
            && !slot.deferred
        {
            slot.deferred = true;
            self.deferred.keys.push(key);
        }
    }

    /// Keeps an emptied box for the next message, if it was used for deferring.
    #[inline]
    pub(super) fn keep_spare(&mut self, mut unsent: Box<Unsent>) {
        if self.kernel.batch() > 1 && self.deferred.spare.len() < self.kernel.batch() {
            unsent.sent = 0;
            self.deferred.spare.push(unsent);
        }
    }

    /// At the end of a batch. Answers whether anything was sent, so that there may be more events. Once a batch: a
    /// handler that answers each report with more bytes must not keep the loop from its other work.
    #[inline]
    pub(super) fn end_batch(&mut self) -> bool {
        if self.kernel.batch() <= 1 || std::mem::replace(&mut self.deferred.ended, true) {
            return false;
        }
        self.send_deferred()
    }

    /// Before a wait.
    #[inline]
    pub(super) fn send_before_wait(&mut self) {
        if self.kernel.batch() > 1 {
            self.deferred.ended = false;
            self.send_deferred();
        }
    }

    fn send_deferred(&mut self) -> bool {
        let keys = std::mem::take(&mut self.deferred.keys);
        let mut results = std::mem::take(&mut self.deferred.results);
        for keys in keys.chunks(self.kernel.batch()) {
            let mut entries: Vec<SendEntry<'_>> = Vec::with_capacity(keys.len());
            for key in keys {
                if let Some(slot) = self.slots.get(*key).filter(|slot| slot.kind == Kind::Connection)
                    && let Some(unsent) = &slot.unsent
                    && !unsent.chain.is_empty()
                {
                    entries.push(SendEntry::new(*key, slot.fd.as_fd(), &unsent.chain));
                } else {
                    results.push((*key, Ok(0)));
                }
            }
            if !entries.is_empty() {
                self.kernel.send_all(&self.calls, &mut entries);
            }
            results.extend(entries.into_iter().map(SendEntry::into_result));
        }
        let any = !keys.is_empty();
        self.deferred.keys = keys;
        self.deferred.keys.clear();
        for (key, result) in results.drain(..) {
            self.sent_deferred(key, result);
        }
        self.deferred.results = results;
        any
    }

    fn sent_deferred(&mut self, key: Key, result: io::Result<usize>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.deferred = false;
        let Some(mut unsent) = slot.unsent.take() else { return };
        let before = unsent.chain.len();
        let outcome = match result {
            Ok(n) => {
                let skipped = unsent.chain.skip(n);
                debug_assert_eq!(skipped, Ok(()), "the kernel takes no more than it is offered");
                // It was offered no more, or it is full: a call of its own finds out, as without batches.
                let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
                self.path.send(tools, &mut slot.line, slot.fd.as_fd(), &mut unsent.chain)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Full,
            Err(error) => Outcome::Failed(error),
        };
        let sent = before - unsent.chain.len();
        // What waits for room may wait for long; a small part must not keep a large block.
        unsent.chain.compact();
        self.flushed(key, unsent, sent, outcome);
    }
}
