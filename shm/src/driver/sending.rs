//! How bytes go from the loop to the sessions, and when their memory is free.
//!
//! Large replies are written into memory of the session's that its peer can read ([`memory_for`](ShmDriver::memory_for)), and
//! lent to the peer. They count as sent when the peer can see them, and as released when it has given them back: late, if
//! the peer likes. It keeps at most the session's arena, which no other session uses.

use std::collections::VecDeque;

use linkpoll::buffer::{AllocError, Chain, Tail};
use linkpoll::driver::{Event, Key, Lending, Token};

use super::ShmDriver;
use super::entry::{Entry, Unsent};

/// From so many bytes on, what is to be sent is best written into a session's arena: it is not copied on this side then.
pub(super) const SEND_MEMORY_FROM: usize = 4 << 10;

impl ShmDriver {
    /// Memory for bytes to be sent: the session's, where there are many and it has some, else the loop's.
    pub(super) fn memory_for(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        if bytes >= SEND_MEMORY_FROM
            && let Some(connection) = self.connection(key).filter(|connection| !connection.failed)
        {
            match connection.session.allocate(bytes) {
                Ok(Some(tail)) => {
                    if connection.session.wants_to_send() {
                        self.update_watch(key);
                    }
                    return Ok(tail);
                }
                Ok(None) => self.update_watch(key),
                Err(error) => self.fail(key, error),
            }
        }
        self.pool.allocate(bytes)
    }

    /// Sends a chain behind what is unsent. Answers how many of its bytes were taken.
    #[inline]
    pub(super) fn send_on(&mut self, key: Key, mut chain: Chain, released: Option<Token>) -> usize {
        match self.entries.get_mut(key) {
            Some(Entry::Connection(connection)) if !connection.failed => {
                if !connection.unsent.chain.is_empty() || connection.has_last_words() {
                    connection.unsent.append(chain, released);
                    return 0;
                }
                let before = connection.session.referred();
                match connection.session.send_chain(&mut chain) {
                    Ok(n) => {
                        let waits = connection.session.wants_to_send();
                        if !chain.is_empty() {
                            connection.unsent.append(chain, released);
                            self.activate(key);
                        } else if let Some(token) = released {
                            self.release_when_back(key, token, before);
                        }
                        if waits {
                            self.update_watch(key);
                        }
                        return n;
                    }
                    Err(error) => self.fail(key, error),
                }
            }
            Some(Entry::Connecting(connecting)) => {
                connecting.unsent.append(chain, released);
                return 0;
            }
            _ => {}
        }
        if let Some(token) = released {
            self.release(token);
        }
        0
    }

    /// Sends what waits for room, as far as there is some.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(connection) = self.connection(key).filter(|connection| !connection.failed) else { return };
        let sent = if connection.unsent.chain.is_empty() {
            Ok(0)
        } else {
            connection.session.send_chain(&mut connection.unsent.chain)
        };
        let n = match sent {
            Ok(n) => n,
            Err(error) => return self.fail(key, error),
        };
        if n > 0 {
            self.events.push_back(Event::Sent(key, n));
        }
        let mut n = n;
        while let Some(token) = self.connection(key).and_then(|connection| connection.unsent.took(n)) {
            n = 0;
            self.release_when_back(key, token, 0);
        }
        self.update_watch(key);
        self.end_if_due(key);
    }

    /// Ends the sending direction if that was asked for, and nothing is unsent.
    pub(super) fn end_if_due(&mut self, key: Key) {
        let Some(connection) = self.connection(key) else { return };
        if connection.ending && connection.unsent.chain.is_empty() && !connection.failed {
            connection.ending = false;
            if let Err(error) = connection.session.end() {
                self.fail(key, error);
            }
        }
    }

    #[inline]
    pub(super) fn release(&mut self, token: Token) {
        self.events.push_back(Event::Released(token, Lending::Copied));
    }

    /// Releases a token whose bytes were all sent: at once, unless the peer has some of them on loan, which were not before
    /// there were `before` loans by reference.
    #[inline]
    pub(super) fn release_when_back(&mut self, key: Key, token: Token, before: u64) {
        if let Some(Entry::Connection(connection)) = self.entries.get_mut(key) {
            let (given, settled) = (connection.session.referred(), connection.session.settled());
            if given > settled.max(before) {
                connection.lent.push_back((given, token));
                // It asks to be rung for before it sleeps.
                return self.activate(key);
            }
        }
        self.release(token);
    }

    /// Releases the tokens whose loans are back.
    pub(super) fn release_what_is_back(&mut self, key: Key) {
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        let settled = connection.session.settled();
        while let Some((_, token)) = connection.lent.pop_front_if(|(up_to, _)| *up_to <= settled) {
            self.events.push_back(Event::Released(token, Lending::Lent));
        }
    }

    /// Releases tokens of a session that ends, or moves to another owner: nobody will tell when its loans are back.
    pub(super) fn release_lent(&mut self, lent: VecDeque<(u64, Token)>) {
        for (_, token) in lent {
            self.events.push_back(Event::Released(token, Lending::Lent));
        }
    }

    pub(super) fn release_all(&mut self, unsent: Unsent) {
        for (_, token) in unsent.tokens {
            self.release(token);
        }
    }
}
