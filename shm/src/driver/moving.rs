//! How bytes come from the rings to the loop, and how sessions fail.

use std::io;

use linkpoll::buffer::{AllocError, Chain, Tail};
use linkpoll::driver::{Event, Key};

use super::ShmDriver;
use super::entry::{Connection, Entry};
use crate::session::{Received, Room, SessionError};

/// The block that connections share.
const BLOCK: usize = 64 << 10;
/// The largest block for one message; a larger message comes in several such pieces.
const LARGEST: usize = 1 << 20;
/// A message with fewer bytes left goes to the shared block.
const LITTLE: usize = 16 << 10;

impl ShmDriver {
    pub(super) fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        match self.entries.get_mut(key) {
            Some(Entry::Connection(connection)) => Some(connection),
            _ => None,
        }
    }

    /// Looks after one active connection: sends what waits, receives what is there.
    pub(super) fn look_after(&mut self, key: Key) {
        let Some(connection) = self.connection(key) else { return };
        if connection.failed {
            return;
        }
        if std::mem::take(&mut connection.must_listen) {
            self.hear(key);
        }
        let Some(connection) = self.connection(key) else { return };
        if let Err(error) = connection.session.collect() {
            return self.fail(key, error);
        }
        if !connection.lent.is_empty() {
            self.release_what_is_back(key);
        }
        let Some(connection) = self.connection(key) else { return };
        if !connection.unsent.chain.is_empty() && !connection.has_last_words() {
            self.flush(key);
        }
        self.receive_from(key);
    }

    /// A session's eventfd was rung. It says nothing of the socket, and is not read.
    pub(super) fn rung(&mut self, key: Key) {
        if let Some(connection) = self.connection(key).filter(|connection| !connection.failed) {
            connection.session.rung();
            self.activate(key);
        }
    }

    /// Reads a session's socket.
    pub(super) fn hear(&mut self, key: Key) {
        self.calls.receive.add(1);
        let Some(connection) = self.connection(key).filter(|connection| !connection.failed) else { return };
        let heard = connection.session.listen();
        let gone = connection.session.peer_is_gone();
        // A server's side knows, and need not be told, that it leaves.
        let leaves = heard.is_ok() && connection.session.is_left();
        if leaves && !std::mem::replace(&mut connection.told_leaving, true) {
            self.events.push_back(Event::Leaving(key));
        }
        match heard {
            Ok(_) if gone => {
                // It is readable for ever, and has nothing more to tell.
                self.unwatch_socket(key);
                self.activate(key);
                self.mourn(key);
            }
            Ok(_) => {
                self.update_watch(key);
                self.activate(key);
            }
            Err(error) => self.fail(key, error),
        }
    }

    /// The peer is gone. If nothing more is received, nobody else tells the caller.
    fn mourn(&mut self, key: Key) {
        let Some(connection) = self.connection(key) else { return };
        let unsent = !connection.unsent.chain.is_empty();
        if connection.ended && (unsent || !connection.session.has_ended()) {
            self.fail(key, SessionError::NobodyReads);
        }
    }

    /// Receives once, into the block of the loop or the block of a message.
    #[inline]
    fn receive_from(&mut self, key: Key) {
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        if !connection.may_receive() {
            return;
        }
        match connection.session.has_news() {
            Ok(true) => {}
            Ok(false) if connection.session.is_pending() => {}
            Ok(false) => return,
            Err(error) => return self.fail(key, error),
        }
        let least = connection.session.least_room();
        if let Err(error) = prepare(&self.pool, &mut self.block, &mut self.spare, least) {
            return self.starve(key, error);
        }
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        if connection.block.is_none() && connection.wanted >= LITTLE && self.pool_is_ample() {
            let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
            // Without memory for it, its bytes come like others.
            connection.block = self.pool.allocate(connection.wanted.min(LARGEST)).ok();
        }
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        let Some(shared) = self.block.as_mut() else { return };
        let mut wanted = connection.block.take();
        let is_wanted = wanted.is_some();
        let spare = self.spare.as_mut();
        let (first, second): (&mut [u8], &mut [u8]) = match &mut wanted {
            Some(block) => {
                let n = block.len().min(connection.wanted);
                let second = if shared.len() >= least {
                    shared.spare()
                } else {
                    spare.map_or(&mut [][..], Tail::spare)
                };
                (&mut block.spare()[..n], second)
            }
            None => (shared.spare(), spare.map_or(&mut [][..], Tail::spare)),
        };
        let in_first = first.len();
        // Not less than for a record: a loan is copied to the very byte.
        let budget =
            self.options.receive_budget.max(least).min(if is_wanted { in_first } else { usize::MAX });
        let mut room = Room { first, second };
        match connection.session.receive(&mut room, budget) {
            Ok(Received::Nothing) => connection.block = wanted,
            Ok(Received::Copied(n)) => self.tell_received(key, wanted, in_first, n, least),
            Ok(Received::Sealed(segment)) => {
                connection.block = wanted;
                self.events.push_back(Event::Received(key, segment));
            }
            Ok(Received::End) => {
                connection.ended = true;
                connection.wanted = 0;
                self.events.push_back(Event::Eof(key));
                if connection.session.peer_is_gone() {
                    self.mourn(key);
                }
            }
            Err(error) => self.fail(key, error),
        }
    }

    /// Makes segments of `n` bytes that were received: `in_first` at most into the block of a message, or the shared one.
    #[inline]
    fn tell_received(&mut self, key: Key, wanted: Option<Tail>, in_first: usize, n: usize, least: usize) {
        let first = n.min(in_first);
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        let rest = n - first;
        match wanted {
            Some(mut block) => {
                if first > 0 {
                    self.events.push_back(Event::Received(key, block.commit(first)));
                }
                connection.wanted = connection.wanted.saturating_sub(n);
                if connection.wanted > 0 && !block.is_empty() {
                    connection.block = Some(block);
                }
                if rest > 0 {
                    let from_shared = self.block.as_ref().is_some_and(|block| block.len() >= least);
                    let second = if from_shared { self.block.as_mut() } else { self.spare.as_mut() };
                    if let Some(block) = second {
                        self.events.push_back(Event::Received(key, block.commit(rest)));
                    }
                }
            }
            None => {
                connection.wanted = connection.wanted.saturating_sub(n);
                if first > 0
                    && let Some(block) = self.block.as_mut()
                {
                    self.events.push_back(Event::Received(key, block.commit(first)));
                }
                if rest > 0
                    && let Some(mut block) = self.spare.take()
                {
                    self.events.push_back(Event::Received(key, block.commit(rest)));
                    self.block = Some(block);
                }
            }
        }
    }

    /// Ends a connection's traffic: the session is over.
    pub(super) fn fail(&mut self, key: Key, error: SessionError) {
        if let Some(connection) = self.connection(key)
            && !connection.failed
        {
            connection.session.refuse(&error);
            self.statistics.errors.count(&error);
            self.fail_with(key, error.into());
        }
    }

    pub(super) fn fail_with(&mut self, key: Key, error: io::Error) {
        let Some(connection) = self.connection(key).filter(|connection| !connection.failed) else { return };
        connection.failed = true;
        connection.ended = true;
        connection.block = None;
        let unsent = std::mem::take(&mut connection.unsent);
        let lent = std::mem::take(&mut connection.lent);
        self.unwatch_socket(key);
        self.events.push_back(Event::Error(key, error));
        self.release_lent(lent);
        self.release_all(unsent);
    }

    fn pool_is_ample(&self) -> bool {
        let usage = self.pool.usage();
        usage.mapped - usage.free < self.options.memory / 2
    }

    /// Takes back what is due to be told of a connection. Answers the bytes among it.
    pub(super) fn recall(&mut self, key: Key) -> Chain {
        let mut received = Chain::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Received(of, segment) if of == key => received.push(segment),
                Event::Connected(of)
                | Event::Sent(of, _)
                | Event::Eof(of)
                | Event::Leaving(of)
                | Event::Error(of, _)
                    if of == key => {}
                other => self.events.push_back(other),
            }
        }
        received
    }

    /// Lets a connection rest until the pool has a block; any other failure ends it.
    fn starve(&mut self, key: Key, error: AllocError) {
        match error {
            AllocError::Exhausted { .. } => {
                if let Some(connection) = self.connection(key) {
                    connection.starved = true;
                    self.starved.push(key);
                    // Whoever holds their last segments gives them back to the pool, whose bell rings then.
                    self.block = None;
                    self.spare = None;
                }
            }
            error => self.fail_with(key, error.into()),
        }
    }

    /// Lets starved connections receive again when there is a block. The pool's bell ends a sleep for that.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        let room = |key: &Key| match self.entries.get(*key) {
            Some(Entry::Connection(connection)) => connection.session.least_room(),
            _ => 0,
        };
        let least = self.starved.iter().map(room).max().unwrap_or(0).max(BLOCK);
        match prepare(&self.pool, &mut self.block, &mut self.spare, least) {
            Ok(()) => {}
            Err(AllocError::Exhausted { .. }) => return,
            Err(error) => {
                for key in std::mem::take(&mut self.starved) {
                    self.fail_with(key, error.into());
                }
                return;
            }
        }
        for key in std::mem::take(&mut self.starved) {
            if let Some(connection) = self.connection(key).filter(|connection| connection.starved) {
                connection.starved = false;
                // Of a block that is begun, the rest is still to be filled.
                if connection.block.is_none() {
                    connection.wanted = 0;
                }
                self.activate(key);
            }
        }
    }
}

/// Sees to it that there are `least` bytes of room to receive into.
#[inline]
fn prepare(
    pool: &linkpoll::buffer::BlockPool,
    block: &mut Option<Tail>,
    spare: &mut Option<Tail>,
    least: usize,
) -> Result<(), AllocError> {
    let block = match block {
        Some(block) => block,
        None => block.insert(pool.allocate(BLOCK.max(least))?),
    };
    let little = block.written() > 0 && !block.reset() && block.len() < least;
    if (little || block.capacity() < least) && spare.as_ref().is_none_or(|spare| spare.len() < least) {
        *spare = Some(pool.allocate(BLOCK.max(least))?);
    }
    Ok(())
}
