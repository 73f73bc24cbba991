//! Closing, detaching, and the end of the driver.
//!
//! KERNEL: a descriptor that is closed while an operation is under way stays open inside of the kernel: the peer sees no
//! end, and a receive goes on to take its bytes. So the order is: cancel, wait for the last completions, close. Both
//! operations wait for readiness only, so a cancellation takes effect within the same `enter`, or the next; whatever
//! the kernel does instead, `Closed` is told in time: what still lingers then is shut down, which the peer sees too, and
//! is closed when it lets go.
#![expect(unsafe_code, reason = "everything is cancelled at the end")]

use std::io;
use std::mem;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use linkpoll::buffer::Chain;
use linkpoll::driver::epoll::Socket;
use linkpoll::driver::{Detached, Event, Key};
use linkpoll::net::Address;

use super::Uring;
use super::ring::{Operation, Ring, Sleep};
use super::tag::{Class, Id, Tag};

/// Enters that do not sleep, and then enters that do, before an operation is said to linger.
const LOOKS: usize = 8;
const SLEEPS: usize = 8;
const NAP: Duration = Duration::from_micros(200);
/// For how long a detach waits for operations that do not end at once: 20 ms.
const DETACH_NAPS: usize = 20;
const DETACH_NAP: Duration = Duration::from_millis(1);
/// For how long the end of a driver waits for its operations, and for its loans.
const LAST_NAPS: usize = 500;
const LAST_NAP: Duration = Duration::from_millis(1);

impl<R: Ring> Uring<R> {
    /// Closes an entry, which has no key any more.
    pub(super) fn close_now(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.ending = true;
        entry.early = None;
        entry.drop_block();
        let busy = entry.is_busy();
        self.give_up_sending(id);
        if busy {
            self.mark_stale(id);
            self.ending.push(id);
        } else {
            self.finish(id);
        }
    }

    /// Lets go of an entry that ends, as far as the kernel has.
    pub(super) fn finish(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.ending && !entry.detaching) else {
            return;
        };
        if entry.is_busy() {
            return;
        }
        if let Some(fd) = entry.fd.take() {
            self.calls.other.add(1);
            drop(fd);
        }
        if !mem::replace(&mut entry.told, true) {
            self.events.push_back(Event::Closed(entry.key));
        }
        if !entry.has_loans() {
            self.entries.remove(id);
        }
    }

    /// Sees to it that closed entries are gone before the batch is worked off.
    pub(super) fn settle_endings(&mut self) -> io::Result<()> {
        for attempt in 0..LOOKS + SLEEPS {
            self.settle();
            let entries = &self.entries;
            self.ending.retain(|id| entries.get(*id).is_some_and(|entry| !entry.told));
            if self.ending.is_empty() {
                return Ok(());
            }
            // A cancellation that has found nothing is tried again.
            for index in 0..self.ending.len() {
                self.bring_in_line(self.ending[index])?;
            }
            self.enter(if attempt < LOOKS { Sleep::Look } else { Sleep::For(NAP) })?;
            self.reap()?;
        }
        self.settle();
        for id in mem::take(&mut self.ending) {
            let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.told) else { continue };
            entry.told = true;
            self.statistics.lingering += 1;
            self.events.push_back(Event::Closed(entry.key));
            if let Some(fd) = &entry.fd {
                self.calls.other.add(1);
                // One that is not connected has no end to be seen.
                let _ = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Works off, out of turn, the completions of entries that end.
    fn settle(&mut self) {
        for index in self.at..self.backlog.len() {
            let completion = self.backlog[index];
            let Some((class, id)) = completion.tag.parts() else { continue };
            let of = match class {
                Class::Loan => self.loans.get(id).map(|loan| loan.entry()),
                Class::Bell => None,
                _ => Some(id),
            };
            if of.and_then(|of| self.entries.get(of)).is_some_and(|entry| entry.ending) {
                self.backlog[index].tag = Tag::from_word(u64::MAX);
                let event = self.complete(completion);
                debug_assert!(event.is_none(), "an entry that ends tells nothing");
            }
        }
    }

    pub(super) fn detach_now(&mut self, key: Key) -> Option<Detached<Socket>> {
        let (id, entry) = self.entry_of(key)?;
        if entry.failed {
            return None;
        }
        entry.ending = true;
        entry.detaching = true;
        entry.fills = false;
        let recalled = self.recall(key);
        if let Err(error) = self.end_operations(id) {
            // It could not be got back from the kernel: it is broken.
            if let Some(entry) = self.entries.get_mut(id) {
                entry.ending = false;
                entry.detaching = false;
            }
            self.fail(id, error);
            return None;
        }
        self.keys.remove(key);
        self.give_up_sending(id);
        let entry = self.entries.get_mut(id)?;
        entry.drop_block();
        let mut received = recalled;
        received.extend(entry.early.take().into_iter().flat_map(|early| early.segments));
        let mut unsent = mem::take(&mut entry.out);
        if let Some(behind) = entry.behind.take() {
            unsent.append(*behind);
        }
        let fd = entry.fd.take()?;
        let peer = entry.peer.take().unwrap_or_else(|| Box::new(Address::Unix(Default::default())));
        entry.told = true;
        entry.detaching = false;
        self.finish(id);
        Some(Detached { socket: Socket { fd, peer }, received, unsent })
    }

    /// Ends the operations of an entry now. Both wait for readiness only, so a cancellation ends them in the first
    /// `enter`, or in the next. A kernel that takes longer keeps the loop for [20 ms](DETACH_NAPS), and then the
    /// connection: a descriptor with an operation under way cannot be given away.
    fn end_operations(&mut self, id: Id) -> io::Result<()> {
        for attempt in 0..LOOKS + DETACH_NAPS {
            self.settle();
            if !self.entries.get(id).is_some_and(|entry| entry.is_busy()) {
                return Ok(());
            }
            self.bring_in_line(id)?;
            self.enter(if attempt < LOOKS { Sleep::Look } else { Sleep::For(DETACH_NAP) })?;
            self.reap()?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Takes back what is due to be told of a connection. Answers the bytes among it.
    fn recall(&mut self, key: Key) -> Chain {
        let mut received = Chain::new();
        for event in mem::take(&mut self.events) {
            match event {
                Event::Received(of, segment) if of == key => received.push(segment),
                Event::Connected(of) | Event::Sent(of, _) | Event::Eof(of) if of == key => {}
                other => self.events.push_back(other),
            }
        }
        received
    }

    /// Ends everything, so that the kernel does not touch the memory of a driver that is gone.
    pub(super) fn end_all(&mut self) {
        self.keys = Default::default();
        let ids: Vec<Id> = self.entries.ids().collect();
        for id in &ids {
            if let Some(entry) = self.entries.get_mut(*id) {
                entry.ending = true;
                entry.told = true;
            }
        }
        for attempt in 0..LOOKS + LAST_NAPS {
            for index in self.at..self.backlog.len() {
                // Nobody is told any more; what an event would hold is dropped.
                drop(self.complete(self.backlog[index]));
            }
            self.backlog.clear();
            self.at = 0;
            ids.iter().for_each(|id| self.give_up_sending(*id));
            ids.iter().for_each(|id| self.finish(*id));
            let busy = self.entries.ids().filter_map(|id| self.entries.get(id)).any(|entry| entry.is_busy());
            if !busy && !self.bell_armed && (self.loans.len() == 0 || attempt > LAST_NAPS / 5) {
                break;
            }
            let cancelled = (busy || self.bell_armed) && self.cancel_all();
            let sleep = if attempt < LOOKS { Sleep::Look } else { Sleep::For(LAST_NAP) };
            if !cancelled && busy || self.enter(sleep).is_err() || self.reap().is_err() {
                break;
            }
        }
        // What the kernel did not let go of is never used again: better lost than changed under its hands.
        let busy = self.entries.ids().filter_map(|id| self.entries.get(id)).any(|entry| entry.is_busy());
        if busy {
            mem::forget(mem::take(&mut self.entries));
            mem::forget(mem::replace(&mut self.buffers, super::Buffers::new(0, 0)));
        }
        if self.loans.len() > 0 {
            mem::forget(mem::take(&mut self.loans));
        }
    }

    fn cancel_all(&mut self) -> bool {
        if !self.make_room(0).unwrap_or(false) {
            return false;
        }
        // SAFETY: a cancellation names neither memory nor descriptor.
        unsafe { self.ring.queue(Operation::CancelAll, Tag::from_word(u64::MAX)) };
        true
    }
}
