//! Receiving from many connections with one call, where the kernel can.
//!
//! Right after a wait, before the first event is told, everything that the ready connections have is received with one
//! call, each into a part of one wide block. The results lie beside the list of ready descriptors and are told in its
//! order. A connection that is closed meanwhile has its bytes dropped, as if they had not been read; one that is
//! paused meanwhile still gets them, for they are under way already.
//!
//! A connection that fills its part, or is in the middle of a large message with a block of its own, receives by
//! itself as usual.

use std::io;
use std::os::fd::AsFd as _;

use super::kernel::ReceiveEntry;
use super::path::SendPath;
use super::receive::LITTLE_ROOM;
use super::slot::Kind;
use super::{BELL, Current, Epoll, Kernel, Socket};
use crate::buffer::{Segment, Tail};
use crate::driver::{Event, Key};
use crate::sync::shrink;

/// The room of one connection. An odd number of cache lines, or the same few lines of all parts would compete for the
/// same places in the processor's cache.
const PART: usize = shrink((16 << 10) - 64, 2);
/// With fewer ready connections, calls of their own cost no more.
const FEWEST: usize = 2;

/// What was received ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    block: Option<Tail>,
    /// By position in the list of ready descriptors.
    results: Vec<Option<io::Result<Segment>>>,
    places: Vec<usize>,
}

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// Receives from all ready connections.
    #[inline]
    pub(super) fn receive_ahead(&mut self) {
        if self.kernel.batch() > 1 {
            self.ahead.results.clear();
            self.receive_all();
        }
    }

    fn receive_all(&mut self) {
        let mut places = std::mem::take(&mut self.ahead.places);
        places.clear();
        for (at, ready) in self.batch.ready.iter().enumerate() {
            let key = Key::from_word(ready.token());
            if ready.token() != BELL
                && ready.readiness().may_receive()
                && let Some(slot) = self.slots.get_mut(key)
                && slot.kind == Kind::Connection
                && slot.may_receive()
                && slot.block.is_none()
                && slot.wanted < LITTLE_ROOM
                // One that was carried over may be reported, too.
                && !std::mem::replace(&mut slot.ahead, true)
            {
                places.push(at);
            }
        }
        for at in &places {
            if let Some(slot) = self.slots.get_mut(Key::from_word(self.batch.ready[*at].token())) {
                slot.ahead = false;
            }
        }
        for places in places.chunks(self.kernel.batch()) {
            if places.len() >= FEWEST {
                self.receive_at(places);
            }
        }
        self.ahead.places = places;
    }

    fn receive_at(&mut self, places: &[usize]) {
        let Some(mut block) = self.wide_block(places.len()) else { return };
        let slots = &self.slots;
        let mut entries: Vec<ReceiveEntry<'_>> = Vec::with_capacity(places.len());
        for (at, room) in places.iter().zip(block.spare().chunks_exact_mut(PART)) {
            let key = Key::from_word(self.batch.ready[*at].token());
            if let Some(slot) = slots.get(key) {
                entries.push(ReceiveEntry::new(key, slot.fd.as_fd(), room));
            }
        }
        self.kernel.receive_all(&self.calls, &mut entries);
        let results: Vec<io::Result<usize>> = entries.into_iter().map(ReceiveEntry::into_result).collect();
        self.ahead.results.resize_with(self.batch.ready.len(), || None);
        for (at, result) in places.iter().zip(results) {
            let mut segment = block.commit(PART);
            self.ahead.results[*at] = Some(result.map(|n| {
                segment.truncate(n);
                segment
            }));
        }
        self.ahead.block = Some(block);
    }

    /// A block with room for so many parts. Without memory for it, connections receive by themselves, and rest if
    /// there is no memory for that either.
    fn wide_block(&mut self, parts: usize) -> Option<Tail> {
        let need = parts * PART;
        let fits = self.ahead.block.take().filter(|block| block.capacity() >= need);
        let fits = fits.and_then(|mut block| (block.reset() || block.len() >= need).then_some(block));
        fits.or_else(|| self.pool.allocate(need).ok())
    }

    /// What was received ahead for the descriptor that is being worked on.
    #[inline]
    pub(super) fn take_ahead(&mut self) -> Option<io::Result<Segment>> {
        if self.kernel.batch() <= 1 {
            return None;
        }
        self.ahead.results.get_mut(self.batch.at.checked_sub(1)?)?.take()
    }

    /// Tells what was received ahead.
    pub(super) fn tell_ahead(
        &mut self,
        current: Current,
        result: io::Result<Segment>,
    ) -> Option<Event<Socket>> {
        let slot = self.slots.get(current.key)?;
        if slot.ended || slot.failed {
            return None;
        }
        match result {
            Ok(segment) if segment.is_empty() => self.end(current.key),
            Ok(segment) => {
                self.again(current, segment.len(), PART);
                Some(Event::Received(current.key, segment))
            }
            Err(error) => self.receive_failed(current.key, error),
        }
    }

    /// Tells at once what was received ahead for a connection that goes to another owner.
    pub(super) fn tell_ahead_of(&mut self, key: Key) {
        for (ready, result) in self.batch.ready.iter().zip(&mut self.ahead.results) {
            if ready.token() == key.to_word()
                && let Some(Ok(segment)) = result.take()
                && !segment.is_empty()
            {
                self.events.push_back(Event::Received(key, segment));
            }
        }
    }
}
