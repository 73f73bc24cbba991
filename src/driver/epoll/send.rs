//! The sending half of the epoll driver.
//!
//! What is given to `send` goes out at once, in as few calls as it takes, until the socket says that it is full. Only
//! then is the rest kept and room waited for. A kernel that sends for many connections in one call gets everything at
//! the end of the batch instead; see `deferred.rs`.

use std::io;
use std::os::fd::AsFd as _;

use super::path::{Outcome, SendPath, Tools};
use super::slot::{Kind, Unsent};
use super::{Epoll, Kernel};
use crate::buffer::Chain;
use crate::driver::{Event, Key, Lending, Token};

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// Sends behind whatever waits already. Answers how many bytes were taken at once.
    #[inline]
    pub(super) fn send_now(&mut self, key: Key, mut chain: Chain, token: Option<Token>) -> usize {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| !slot.failed) else {
            self.events.extend(token.map(|token| Event::Released(token, Lending::Copied)));
            return 0;
        };
        if slot.unsent.is_some() || slot.kind == Kind::Connecting {
            let unsent = slot.unsent.get_or_insert_default();
            // What waits may wait for long; a small part must not keep a large block.
            chain.compact();
            unsent.append(chain, token);
            return 0;
        }
        if self.kernel.batch() > 1 {
            self.defer(key, chain, token);
            return 0;
        }
        let before = chain.len();
        let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
        let outcome = self.path.send(tools, &mut slot.line, slot.fd.as_fd(), &mut chain);
        let sent = before - chain.len();
        match outcome {
            Outcome::Done if token.is_none() => {}
            Outcome::Done => self.release(key, token),
            Outcome::Full => {
                // The rest may stay for long; a small part must not keep a large block.
                chain.compact();
                let mut unsent = Box::<Unsent>::default();
                unsent.append(chain, token);
                slot.unsent = Some(unsent);
                self.mark_stale(key);
            }
            Outcome::Failed(error) => {
                self.release(key, token);
                self.fail(key, error);
            }
        }
        sent
    }

    /// Sends bytes from where they are, in one call, if nothing waits already. What is left is going to be sent behind
    /// them as a chain, or dropped if the connection has failed.
    #[inline]
    pub(super) fn send_bytes_now(&mut self, key: Key, bytes: &[u8]) -> usize {
        if self.kernel.batch() > 1 {
            return 0;
        }
        let Some(slot) = self.slots.get_mut(key) else { return 0 };
        if slot.failed || slot.unsent.is_some() || slot.kind == Kind::Connecting {
            return 0;
        }
        let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
        match self.path.send_bytes(tools, slot.fd.as_fd(), bytes) {
            Ok(n) => n,
            Err(error) => self.send_failed(key, error),
        }
    }

    #[cold]
    fn send_failed(&mut self, key: Key, error: io::Error) -> usize {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.fail(key, error);
        }
        0
    }

    /// Sends what waits, and ends the sending direction if that is due.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.kind == Kind::Connection) else {
            return;
        };
        if slot.unsent.is_some() && self.kernel.batch() > 1 {
            return self.defer_waiting(key);
        }
        if let Some(mut unsent) = slot.unsent.take() {
            let before = unsent.chain.len();
            let tools = Tools { kernel: &mut self.kernel, calls: &self.calls, events: &mut self.events };
            let outcome = self.path.send(tools, &mut slot.line, slot.fd.as_fd(), &mut unsent.chain);
            let sent = before - unsent.chain.len();
            return self.flushed(key, unsent, sent, outcome);
        }
        self.end_sending(key);
    }

    /// Goes on after `sent` bytes of what waited were sent.
    pub(super) fn flushed(&mut self, key: Key, mut unsent: Box<Unsent>, sent: usize, outcome: Outcome) {
        unsent.sent += sent as u64;
        if sent > 0 {
            self.events.push_back(Event::Sent(key, sent));
        }
        while unsent.tokens.front().is_some_and(|(end, _)| *end <= unsent.sent) {
            let token = unsent.tokens.pop_front().map(|(_, token)| token);
            self.release(key, token);
        }
        match outcome {
            Outcome::Done => {
                self.keep_spare(unsent);
                self.mark_stale(key);
            }
            Outcome::Full => {
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.unsent = Some(unsent);
                    return self.mark_stale(key);
                }
            }
            Outcome::Failed(error) => {
                for (_, token) in unsent.tokens {
                    self.release(key, Some(token));
                }
                return self.fail(key, error);
            }
        }
        self.end_sending(key);
    }

    /// Releases a token, nothing of whose bytes is left here, unless the path still needs their memory.
    #[inline]
    pub(super) fn release(&mut self, key: Key, token: Option<Token>) {
        let Some(token) = token else { return };
        let lending = match self.slots.get_mut(key) {
            Some(slot) => self.path.finished(&mut slot.line, token),
            None => Some(Lending::Copied),
        };
        self.events.extend(lending.map(|lending| Event::Released(token, lending)));
    }

    pub(super) fn end_sending(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        // After a failure there is no orderly end: what the peer has is not all of it.
        if slot.shutdown && slot.unsent.is_none() && !slot.failed {
            slot.shutdown = false;
            slot.send_ended = true;
            self.calls.other.add(1);
            if let Err(error) = self.kernel.shutdown_send(slot.fd.as_fd()) {
                self.fail(key, error);
            }
        }
    }
}
