//! The incoming half: accepting, connecting, receiving.
//!
//! A receive that is to end has not ended yet: the kernel may have taken bytes from the socket before it saw the
//! cancellation. Those bytes exist only in the completion. So everything that arrives is kept; what must not be told now
//! is an *early arrival*, and is told, in its order, when receiving is switched on again.
#![expect(unsafe_code, reason = "a completion carries a new descriptor as a number")]

use std::io;
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use linkpoll::buffer::{AllocError, Segment};
use linkpoll::driver::epoll::Socket;
use linkpoll::driver::{Event, SystemCalls, system};

use super::Uring;
use super::entry::{End, Incoming, Kind, What};
use super::ring::{Completion, Ring};
use super::tag::Id;

/// A message that misses fewer bytes gets no block of its own.
const LITTLE: usize = 16 << 10;
/// What a block may cost the pool, however small it is: memory for others of its size is set aside with it.
const BLOCK_COSTS: usize = 256 << 10;
/// Receives after a large message that bring one buffer each.
const CAREFUL: u8 = 4;
/// The largest block for one message; a larger message comes in several such pieces.
const LARGEST: usize = 1 << 20;

impl<R: Ring> Uring<R> {
    /// Provides buffers, and lets starved connections receive again when there are some.
    pub(super) fn feed(&mut self) {
        if self.buffers.are_all_with_kernel() && self.starved.is_empty() {
            return;
        }
        let provided = self.buffers.provide(&self.pool, &mut self.ring);
        if self.starved.is_empty() {
            return;
        }
        match provided {
            // The pool rings the bell when another thread has given a block back.
            Err(AllocError::Exhausted { .. }) if self.buffers.with_kernel() == 0 => return,
            // No bell tells when the system has memory again.
            Err(error) if self.buffers.with_kernel() == 0 => {
                for id in mem::take(&mut self.starved) {
                    self.fail(id, error.into());
                }
                return;
            }
            _ => {}
        }
        // The others wait on: all of them would be armed in each turn to find nothing.
        for _ in 0..self.buffers.with_kernel().div_ceil(2) {
            let Some(id) = self.starved.pop_front() else { break };
            if let Some(entry) = self.entries.get_mut(id) {
                entry.starved = false;
                entry.hung_up = false;
                self.mark_stale(id);
            }
        }
    }

    /// A completion of an entry's incoming operation.
    pub(super) fn incoming(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let what = match self.entries.get(id).map(|entry| entry.incoming) {
            Some(Incoming::Armed(what) | Incoming::Cancelling(what)) => what,
            // An entry stays until its operations have ended.
            _ => {
                debug_assert!(false, "a completion of nothing");
                return None;
            }
        };
        let more = completion.more();
        if !more && let Some(entry) = self.entries.get_mut(id) {
            entry.incoming = Incoming::Idle;
        }
        let event = match what {
            What::Receive => self.received(id, completion),
            What::Fill => self.filled(id, completion),
            What::Accept => self.accepted(id, completion),
            What::Room => self.connected(id, completion),
            What::HangUp => self.hung_up(id, completion),
        };
        if !more {
            self.mark_stale(id);
            self.finish(id);
        }
        event
    }

    #[inline]
    fn received(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let segment = match (completion.buffer(), usize::try_from(completion.result)) {
            (Some(number), Ok(len)) if len > 0 => self.buffers.take(number, len),
            (Some(number), _) => {
                self.buffers.give_back(number);
                None
            }
            _ => None,
        };
        if let Some(segment) = segment {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.careful = entry.careful.saturating_sub(1);
            }
            return self.arrived(id, segment, false);
        }
        self.nothing_received(id, completion.result)
    }

    /// A message's block was received into.
    fn filled(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let entry = self.entries.get_mut(id)?;
        let segment = match (&mut entry.block, usize::try_from(completion.result)) {
            (Some(block), Ok(len)) if len > 0 => Some(block.commit(len)),
            _ => None,
        };
        let full = entry.block.as_ref().is_none_or(|block| block.is_empty());
        entry.wanted -= segment.as_ref().map_or(0, |segment| segment.len()).min(entry.wanted);
        if entry.wanted == 0 || full || !entry.fills {
            entry.drop_block();
            self.fill_if_large(id);
        }
        match segment {
            Some(segment) => self.arrived(id, segment, true),
            None => self.nothing_received(id, completion.result),
        }
    }

    /// Has the rest of a message received into a block of its own, where it is large. Half of the memory is left to
    /// others: what peers announce and do not send must not keep them from receiving.
    pub(super) fn fill_if_large(&mut self, id: Id) {
        let Some(least) = self.options.fill_from else { return };
        if self.entries.get(id).is_none_or(|entry| entry.wanted < least.max(1)) {
            return;
        }
        let used = self.pool_in_use();
        let most = self.options.memory / 2;
        let Some(entry) = self.entries.get_mut(id) else { return };
        let size = entry.wanted.min(LARGEST);
        if used + size.max(BLOCK_COSTS) > most
            || entry.block.is_some()
            || entry.ended
            || !entry.tells()
            || entry.kind != Kind::Connection
        {
            return;
        }
        let block = self.pool.allocate(size).ok();
        entry.fills = block.is_some();
        entry.careful = CAREFUL;
        entry.block = block.map(Box::new);
        self.mark_stale(id);
    }

    fn pool_in_use(&self) -> usize {
        let usage = self.pool.usage();
        usage.mapped - usage.free
    }

    /// A receive has brought no bytes.
    fn nothing_received(&mut self, id: Id, result: i32) -> Option<Event<Socket>> {
        match -result {
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => None,
            libc::ENOBUFS => {
                self.statistics.starvations += 1;
                self.starve(id);
                None
            }
            0 => self.ended(id, End::Eof),
            errno => self.ended(id, End::Broken(io::Error::from_raw_os_error(errno))),
        }
    }

    /// Lets a connection rest until there is a buffer for it.
    pub(super) fn starve(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(id)
            && !mem::replace(&mut entry.starved, true)
        {
            self.starved.push_back(id);
            self.mark_stale(id);
        }
    }

    /// Bytes have arrived, perhaps where they belong.
    #[inline]
    fn arrived(&mut self, id: Id, segment: Segment, in_place: bool) -> Option<Event<Socket>> {
        let entry = self.entries.get_mut(id)?;
        entry.fed = true;
        if !entry.tells() || entry.early.is_some() {
            // Those of a closed or broken connection are dropped.
            if entry.detaching || !(entry.ending || entry.failed) {
                entry.early.get_or_insert_default().segments.push_back(segment);
            }
            return None;
        }
        if !in_place && (entry.wanted >= LITTLE || entry.block.is_some()) {
            return self.arrived_wanted(id, segment);
        }
        Some(Event::Received(entry.key, segment))
    }

    /// Puts bytes of a large message into the block that belongs to it.
    fn arrived_wanted(&mut self, id: Id, mut segment: Segment) -> Option<Event<Socket>> {
        // With half of the memory in use, what peers announce and do not send must not keep others from receiving.
        let ample = self.pool_in_use() < self.options.memory / 2;
        let entry = self.entries.get_mut(id)?;
        if entry.block.is_none() {
            // All of it in one piece is what was wanted.
            let whole = segment.len() >= entry.wanted;
            let block =
                if whole || !ample { None } else { self.pool.allocate(entry.wanted.min(LARGEST)).ok() };
            entry.block = block.map(Box::new);
        }
        let Some(block) = &mut entry.block else {
            entry.wanted = entry.wanted.saturating_sub(segment.len());
            return Some(Event::Received(entry.key, segment));
        };
        let len = segment.len().min(block.len()).min(entry.wanted);
        block.spare()[..len].copy_from_slice(&segment[..len]);
        let copy = block.commit(len);
        entry.wanted -= len;
        if entry.wanted == 0 || block.is_empty() {
            entry.drop_block();
        }
        segment.advance(len);
        if !segment.is_empty() {
            self.events.push_back(Event::Received(entry.key, segment));
        }
        Some(Event::Received(entry.key, copy))
    }

    /// Receiving has ended for good.
    fn ended(&mut self, id: Id, end: End) -> Option<Event<Socket>> {
        let entry = self.entries.get_mut(id)?;
        if entry.failed || entry.ending {
            return None;
        }
        entry.ended = true;
        entry.drop_block();
        entry.wanted = 0;
        if !entry.receiving || entry.early.is_some() {
            entry.early.get_or_insert_default().end = Some(end);
            return None;
        }
        self.tell_end(id, end)
    }

    fn tell_end(&mut self, id: Id, end: End) -> Option<Event<Socket>> {
        match end {
            End::Eof => self.entries.get(id).map(|entry| Event::Eof(entry.key)),
            End::Broken(error) => {
                self.fail(id, error);
                None
            }
        }
    }

    /// The next early arrival of a connection that is received from again.
    pub(super) fn next_early(&mut self) -> Option<Event<Socket>> {
        while let Some(id) = self.resumed.last().copied() {
            let entry = self.entries.get_mut(id).filter(|entry| entry.tells());
            let Some(entry) = entry else {
                self.resumed.pop();
                continue;
            };
            if let Some(segment) = entry.early.as_mut().and_then(|early| early.segments.pop_front()) {
                return Some(Event::Received(entry.key, segment));
            }
            self.resumed.pop();
            let end = entry.early.take().and_then(|early| early.end);
            if let Some(end) = end {
                let told = self.tell_end(id, end);
                if told.is_some() {
                    return told;
                }
            }
        }
        self.events.pop_front()
    }

    fn accepted(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let entry = self.entries.get(id)?;
        if let Some(error) = completion.error() {
            let of_one = matches!(-completion.result, libc::ECANCELED | libc::EINTR | libc::EAGAIN)
                || system::is_of_one_connection(&error);
            return (!of_one && !entry.ending).then_some(Event::AcceptFailed(entry.key, error));
        }
        // SAFETY: the kernel has just given us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
        if entry.ending {
            return None;
        }
        self.calls.accept.add(1);
        // One that is gone already is no connection.
        let peer = system::peer_address(&fd).ok()?;
        Some(Event::Incoming(entry.key, Socket { fd, peer: Box::new(peer) }))
    }

    fn connected(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let entry = self.entries.get_mut(id)?;
        if entry.ending || completion.result == -libc::ECANCELED {
            return None;
        }
        self.calls.other.add(1);
        match entry.fd.as_ref().map(system::connect_result) {
            Some(Ok(())) => {
                entry.kind = Kind::Connection;
                let key = entry.key;
                if !entry.out.is_empty() {
                    self.list(id);
                }
                self.end_sending(id);
                Some(Event::Connected(key))
            }
            Some(Err(error)) => {
                self.fail(id, error);
                None
            }
            None => None,
        }
    }

    /// A connection that is not received from any more, or not for want of memory, is dead.
    fn hung_up(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let entry = self.entries.get_mut(id)?;
        let dead = i32::from(libc::POLLHUP | libc::POLLERR);
        if completion.result < 0
            || completion.result & dead == 0
            || entry.incoming_wanted() != Some(What::HangUp)
        {
            return None;
        }
        if completion.result & i32::from(libc::POLLHUP) == 0
            && let Some(fd) = entry.fd.as_ref()
            && has_news(fd.as_fd(), &self.calls)
        {
            return None;
        }
        entry.hung_up = true;
        self.fail(id, io::ErrorKind::ConnectionReset.into());
        None
    }
}

/// Whether what is reported as an error is news of memory that another owner has lent from the socket. Drops them.
fn has_news(fd: BorrowedFd<'_>, calls: &SystemCalls) -> bool {
    let mut any = false;
    loop {
        calls.other.add(1);
        match system::drop_error(fd) {
            Ok(true) => any = true,
            Ok(false) => return any,
            // Not known: it is reported again when more comes.
            Err(_) => return true,
        }
    }
}
