//! The receiving half of the epoll driver. Bytes are committed after the call, as many as it says, so a call that fails
//! or is interrupted leaves nothing behind.
//!
//! One receive per ready connection is the rule. It is repeated at once only when it filled all the room it had (more
//! is probably there), or when the peer has ended its direction (so that the end is found in the same turn), or has sent
//! an urgent byte (which cuts a receive short), and only within the budget of the turn.

use std::io;

use super::path::SendPath;
use super::slot::Kind;
use super::{Current, Epoll, Kernel, Socket};
use crate::buffer::{AllocError, Tail};
use crate::driver::{Event, Key};
use crate::sync::shrink;

/// The block that connections share.
const BLOCK: usize = shrink(64 << 10, 6);
/// With less room left than this, a receive runs over into a fresh block.
pub(super) const LITTLE_ROOM: usize = shrink(16 << 10, 2);
/// The largest block for one message; a larger message comes in several such pieces.
const LARGEST: usize = 1 << 20;

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// Receives once from a connection, or accepts once from a listener.
    pub(super) fn receive_from(&mut self, current: Current) -> Option<Event<Socket>> {
        if let Some(result) = self.take_ahead() {
            return self.tell_ahead(current, result);
        }
        let slot = self.slots.get_mut(current.key)?;
        if slot.kind == Kind::Listener {
            self.accept(current);
            return None;
        }
        if !slot.may_receive() {
            self.bury(current);
            return None;
        }
        if !current.readiness.may_receive() {
            return None;
        }
        if slot.block.is_some() || (slot.wanted >= LITTLE_ROOM && self.memory_is_ample()) {
            self.receive_wanted(current)
        } else {
            self.receive_shared(current)
        }
    }

    /// Deals with a dead socket that is not read from, which would be reported over and over.
    fn bury(&mut self, Current { key, readiness, .. }: Current) {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| readiness.is_dead() && !slot.failed) else {
            return;
        };
        if slot.starved {
            // Nobody reads its last bytes before others let go of memory, and it must not be one who keeps some.
            self.fail(key, io::ErrorKind::ConnectionReset.into());
        } else if slot.ended && !slot.send_ended {
            // Its end was told, and now nothing can be sent either: nobody would ever learn of it otherwise.
            self.fail(key, io::ErrorKind::ConnectionReset.into());
        } else if slot.unsent.is_none() && !slot.dead {
            // Bytes may still be there to be received later; what is sent meanwhile fails by itself.
            slot.dead = true;
            self.mark_stale(key);
        }
    }

    /// Whether a block may be set aside for one message on its sender's word. With half of the memory in use, what
    /// peers announce and do not send must not keep others from receiving.
    fn memory_is_ample(&self) -> bool {
        let usage = self.pool.usage();
        usage.mapped - usage.free < self.options.memory / 2
    }

    /// Receives into the block of the loop, and into a fresh one behind it when little room is left.
    fn receive_shared(&mut self, current: Current) -> Option<Event<Socket>> {
        if let Err(error) = self.prepare_block() {
            self.starve(current.key, error);
            return None;
        }
        let slot = self.slots.get_mut(current.key)?;
        let block = self.block.as_mut()?;
        let room = block.len();
        let second = self.spare.as_mut().filter(|_| room < LITTLE_ROOM).map_or(&mut [][..], Tail::spare);
        let asked = room + second.len();
        self.calls.receive.add(1);
        match self.kernel.receive(slot.fd(), block.spare(), second) {
            Ok(n) if n > room => {
                let first = block.commit(room);
                let mut spare = self.spare.take()?;
                let second = spare.commit(n - room);
                self.block = Some(spare);
                self.again(current, n, asked);
                if first.is_empty() {
                    return Some(Event::Received(current.key, second));
                }
                self.events.push_back(Event::Received(current.key, second));
                Some(Event::Received(current.key, first))
            }
            Ok(n) if n > 0 => {
                let segment = block.commit(n);
                self.again(current, n, asked);
                Some(Event::Received(current.key, segment))
            }
            Ok(_) => self.end(current.key),
            Err(error) => self.receive_failed(current.key, error),
        }
    }

    /// Receives into the block that belongs to one connection's large message.
    fn receive_wanted(&mut self, current: Current) -> Option<Event<Socket>> {
        let slot = self.slots.get_mut(current.key)?;
        if slot.block.is_none() {
            match self.pool.allocate(slot.wanted.min(LARGEST)) {
                Ok(tail) => slot.block = Some(Box::new(tail)),
                Err(error) => {
                    self.starve(current.key, error);
                    return None;
                }
            }
        }
        let block = slot.block.as_mut()?;
        let asked = block.len().min(slot.wanted);
        self.calls.receive.add(1);
        use std::os::fd::AsFd as _;
        match self.kernel.receive(slot.fd.as_fd(), &mut block.spare()[..asked], &mut []) {
            Ok(n) if n > 0 => {
                let segment = block.commit(n);
                slot.wanted -= n;
                if slot.wanted == 0 || block.is_empty() {
                    slot.block = None;
                }
                self.again(current, n, asked);
                Some(Event::Received(current.key, segment))
            }
            Ok(_) => self.end(current.key),
            Err(error) => self.receive_failed(current.key, error),
        }
    }

    /// Sees to it that there is room to receive into.
    fn prepare_block(&mut self) -> Result<(), AllocError> {
        let block = match &mut self.block {
            Some(block) => block,
            None => self.block.insert(self.pool.allocate(BLOCK)?),
        };
        if block.written() > 0 && !block.reset() && block.len() < LITTLE_ROOM && self.spare.is_none() {
            self.spare = Some(self.pool.allocate(BLOCK)?);
        }
        Ok(())
    }

    /// After `n` bytes of `asked`: whether to receive once more in this turn.
    #[inline]
    pub(super) fn again(&mut self, current: Current, n: usize, asked: usize) {
        let more = n == asked || current.readiness.peer_ended() || current.readiness.is_urgent();
        let budget = current.budget.saturating_sub(n);
        if more && budget > 0 {
            self.batch.current = Some(Current { budget, ..current });
        } else if more && self.edge() {
            self.carried.push(current.key);
        }
    }

    pub(super) fn end(&mut self, key: Key) -> Option<Event<Socket>> {
        let slot = self.slots.get_mut(key)?;
        slot.ended = true;
        slot.block = None;
        slot.wanted = 0;
        self.mark_stale(key);
        Some(Event::Eof(key))
    }

    pub(super) fn receive_failed(&mut self, key: Key, error: io::Error) -> Option<Event<Socket>> {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.fail(key, error);
        }
        None
    }

    /// Lets a connection rest until the pool has a block; any other failure ends it.
    fn starve(&mut self, key: Key, error: AllocError) {
        match error {
            AllocError::Exhausted { .. } => {
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.starved = true;
                    self.starved.push(key);
                    self.mark_stale(key);
                }
            }
            error => self.fail(key, error.into()),
        }
    }

    /// Lets starved connections receive again when there is a block. Called before each wait, and the pool's bell
    /// ends a wait when another thread has given a block back.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        match self.prepare_block() {
            Ok(()) => {}
            Err(AllocError::Exhausted { .. }) => return,
            // No bell tells when the system has memory again.
            Err(error) => {
                for key in std::mem::take(&mut self.starved) {
                    self.fail(key, error.into());
                }
                return;
            }
        }
        let edge = self.edge();
        for key in std::mem::take(&mut self.starved) {
            if edge {
                // The edge that was not acted on will not come again.
                self.carried.push(key);
            }
            if let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.starved) {
                slot.starved = false;
                slot.dead = false;
                // One large block may still be out of reach where a shared one is not.
                slot.wanted = 0;
                self.mark_stale(key);
            }
        }
    }
}
