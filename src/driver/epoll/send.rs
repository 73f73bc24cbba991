//! The sending half of the epoll driver.
//!
//! What is given to `send` goes out at once, in as few calls as it takes, until the socket says that it is full. Only
//! then is the rest kept and room waited for.

use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;

use super::slot::{Slot, Unsent};
use super::{Epoll, Kernel};
use crate::buffer::Chain;
use crate::driver::{Event, Key, Lending, SystemCalls, Token};

/// Pieces offered in one call: the first count where it suffices, for it takes less stack to set up.
const FEW_PIECES: usize = 16;
const MOST_PIECES: usize = 1024;

/// How a run of sends ended.
enum Outcome {
    Done,
    Full,
    Failed(io::Error),
}

impl<K: Kernel> Epoll<K> {
    /// Sends behind whatever waits already. Answers how many bytes were taken at once.
    #[inline]
    pub(super) fn send_now(&mut self, key: Key, mut chain: Chain, token: Option<Token>) -> usize {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| !slot.failed) else {
            self.events.extend(token.map(|token| Event::Released(token, Lending::Copied)));
            return 0;
        };
        if slot.unsent.is_some() || slot.kind == super::Kind::Connecting {
            let unsent = slot.unsent.get_or_insert_default();
            // What waits may wait for long; a small part must not keep a large block.
            chain.compact();
            unsent.chain.append(chain);
            let end = unsent.sent + unsent.chain.len() as u64;
            unsent.tokens.extend(token.map(|token| (end, token)));
            return 0;
        }
        let before = chain.len();
        let outcome = send_chain(&mut self.kernel, &self.calls, slot, &mut chain);
        let sent = before - chain.len();
        match outcome {
            Outcome::Done if token.is_none() => {}
            Outcome::Done => self.events.extend(token.map(|token| Event::Released(token, Lending::Copied))),
            Outcome::Full => {
                // The rest may stay for long; a small part must not keep a large block.
                chain.compact();
                let tokens = token.into_iter().map(|token| (chain.len() as u64, token)).collect();
                slot.unsent = Some(Box::new(Unsent { chain, sent: 0, tokens }));
                self.mark_stale(key);
            }
            Outcome::Failed(error) => {
                self.events.extend(token.map(|token| Event::Released(token, Lending::Copied)));
                self.fail(key, error);
            }
        }
        sent
    }

    /// Sends what waits, and ends the sending direction if that is due.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.kind == super::Kind::Connection) else {
            return;
        };
        if let Some(mut unsent) = slot.unsent.take() {
            let before = unsent.chain.len();
            let outcome = send_chain(&mut self.kernel, &self.calls, slot, &mut unsent.chain);
            let sent = before - unsent.chain.len();
            unsent.sent += sent as u64;
            if sent > 0 {
                self.events.push_back(Event::Sent(key, sent));
            }
            while unsent.tokens.front().is_some_and(|(end, _)| *end <= unsent.sent) {
                self.events.extend(
                    unsent.tokens.pop_front().map(|(_, token)| Event::Released(token, Lending::Copied)),
                );
            }
            match outcome {
                Outcome::Done => self.mark_stale(key),
                Outcome::Full => slot.unsent = Some(unsent),
                Outcome::Failed(error) => {
                    self.release_all(Some(unsent));
                    return self.fail(key, error);
                }
            }
        }
        self.end_sending(key);
    }

    fn end_sending(&mut self, key: Key) {
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

/// Sends until everything is sent, the socket is full, or it fails. What is sent leaves the chain.
#[inline]
fn send_chain<K: Kernel>(kernel: &mut K, calls: &SystemCalls, slot: &Slot, chain: &mut Chain) -> Outcome {
    while !chain.is_empty() {
        calls.send.add(1);
        let result = match chain.single() {
            Some(piece) => kernel.send(slot.fd(), &[IoSlice::new(piece)]),
            None => send_pieces(kernel, slot, chain),
        };
        match result {
            Ok(n) => {
                let skipped = chain.skip(n);
                debug_assert_eq!(skipped, Ok(()), "the kernel takes no more than it is offered");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Full,
            Err(error) => return Outcome::Failed(error),
        }
    }
    Outcome::Done
}

fn send_pieces<K: Kernel>(kernel: &mut K, slot: &Slot, chain: &Chain) -> io::Result<usize> {
    if chain.pieces() <= FEW_PIECES {
        let mut slices = [IoSlice::new(&[]); FEW_PIECES];
        let n = chain.io_slices(&mut slices);
        return kernel.send(slot.fd(), &slices[..n]);
    }
    let mut slices = [IoSlice::new(&[]); MOST_PIECES];
    let n = chain.io_slices(&mut slices);
    kernel.send(slot.fd(), &slices[..n])
}
