//! Queues operations, enters the kernel, and passes completions on to whom they belong.
#![expect(unsafe_code, reason = "operations name descriptors and memory that must stay")]

use std::io;
use std::ptr::NonNull;

use linkpoll::driver::Event;
use linkpoll::driver::epoll::Socket;

use super::Uring;
use super::entry::{Incoming, Outgoing, What};
use super::ring::{Completion, Operation, Ring, Sleep};
use super::tag::{Class, Id, Tag};

/// Receives that may be queued between two waits, however few buffers there are.
const FEWEST_ARMS: usize = 8;
/// Enters in a row for completions that do not fit into their queue; the rest comes with the next wait.
const MOST_FLUSHES: usize = 64;

impl<R: Ring> Uring<R> {
    /// Notes that what should be under way for an entry may have changed.
    pub(super) fn mark_stale(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(id)
            && !entry.stale
        {
            entry.stale = true;
            self.stale.push_back(id);
        }
    }

    /// Queues everything that is due.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        self.feed();
        if !self.bell_armed {
            self.arm_bell()?;
        }
        // A receive that is queued takes a buffer on the spot where bytes are waiting, and half of the buffers are left
        // to those that are under way. More would find none, and come again and again.
        self.arms = (self.buffers.with_kernel() / 2).max(FEWEST_ARMS);
        // What finds no room, or no buffer, comes again with the next wait.
        for _ in 0..self.stale.len() {
            let Some(id) = self.stale.pop_front() else { break };
            match self.entries.get(id) {
                Some(entry) if entry.fed && entry.incoming == Incoming::Idle => self.fed.push(id),
                _ => self.bring_in_line(id)?,
            }
        }
        for index in 0..self.fed.len() {
            self.bring_in_line(self.fed[index])?;
        }
        self.fed.clear();
        self.submit_sends()
    }

    fn arm_bell(&mut self) -> io::Result<()> {
        if !self.make_room(0)? {
            return Ok(());
        }
        use std::os::fd::AsFd as _;
        let tag = Tag::new(Class::Bell, Id { index: 0, generation: 0 });
        // SAFETY: the bell's descriptor is open until the driver is dropped, which ends all operations first.
        unsafe { self.ring.queue(Operation::Bell(self.bell.as_fd()), tag) };
        self.bell_armed = true;
        Ok(())
    }

    /// Queues what leads an entry from the operations it has to those it should have.
    pub(super) fn bring_in_line(&mut self, id: Id) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(id) else { return Ok(()) };
        entry.stale = false;
        let over = entry.ending || entry.failed;
        let cancels = over && entry.outgoing == Outgoing::UnderWay;
        let wanted = entry.incoming_wanted();
        let step = match (entry.incoming, wanted) {
            (Incoming::Idle, Some(what)) => Some(Incoming::Armed(what)),
            (Incoming::Armed(is), should) if should != Some(is) => Some(Incoming::Cancelling(is)),
            _ => None,
        };
        if cancels {
            self.cancel_outgoing(id)?;
        }
        let Some(step) = step else { return Ok(()) };
        if step == Incoming::Armed(What::Receive) {
            if self.buffers.with_kernel() == 0 {
                self.starve(id);
                return Ok(());
            }
            if self.arms == 0 {
                self.mark_stale(id);
                return Ok(());
            }
            self.arms -= 1;
        }
        if !self.make_room(0)? {
            self.mark_stale(id);
            return Ok(());
        }
        let Some(entry) = self.entries.get_mut(id) else { return Ok(()) };
        let Some(fd) = entry.fd.as_ref() else { return Ok(()) };
        use std::os::fd::AsFd as _;
        let fd = fd.as_fd();
        let own = Tag::new(Class::Incoming, id);
        let (operation, tag) = match step {
            Incoming::Armed(What::Accept) => (Operation::Accept(fd), own),
            Incoming::Armed(What::Receive) if entry.careful > 0 => (Operation::ReceiveOnce(fd), own),
            Incoming::Armed(What::Receive) => (Operation::Receive(fd), own),
            Incoming::Armed(What::Fill) => {
                let Some(block) = entry.block.as_mut() else { return Ok(()) };
                let len = block.len().min(entry.wanted);
                let bytes = NonNull::from(&mut block.spare()[..len]).cast();
                self.statistics.fills += 1;
                (Operation::Fill(fd, bytes, len), own)
            }
            Incoming::Armed(What::Room) => (Operation::Room(fd), own),
            Incoming::Armed(What::HangUp) => (Operation::HangUp(fd), own),
            Incoming::Cancelling(_) | Incoming::Idle => {
                (Operation::Cancel(own), Tag::new(Class::CancelIncoming, id))
            }
        };
        self.statistics.arms += u64::from(matches!(step, Incoming::Armed(What::Accept | What::Receive)));
        // SAFETY: the descriptor is closed only when the entry's operations have ended. The block of a fill stays, and is
        // not touched, until its last completion has led back to `Idle` (`drop_block`, `filled`).
        unsafe { self.ring.queue(operation, tag) };
        entry.incoming = step;
        entry.fed = false;
        Ok(())
    }

    fn cancel_outgoing(&mut self, id: Id) -> io::Result<()> {
        if !self.make_room(0)? {
            self.mark_stale(id);
            return Ok(());
        }
        let Some(entry) = self.entries.get_mut(id) else { return Ok(()) };
        // A loan under way is the last one: the next is made only when its result has come.
        let loan = entry.ledger.as_ref().and_then(|ledger| ledger.under_way);
        let target = loan.map_or(Tag::new(Class::Outgoing, id), |loan| Tag::new(Class::Loan, loan));
        entry.outgoing = Outgoing::Cancelling;
        // SAFETY: a cancellation names neither memory nor descriptor.
        unsafe { self.ring.queue(Operation::Cancel(target), Tag::new(Class::CancelOutgoing, id)) };
        Ok(())
    }

    /// Sees to it that an operation with so many pieces can be queued. Answers `false` when the kernel takes nothing now.
    pub(super) fn make_room(&mut self, pieces: usize) -> io::Result<bool> {
        if self.ring.has_room(pieces) {
            return Ok(true);
        }
        self.enter(Sleep::Submit)?;
        Ok(self.ring.has_room(pieces))
    }

    pub(super) fn enter(&mut self, sleep: Sleep) -> io::Result<()> {
        self.calls.wait.add(1);
        self.ring.enter(sleep)
    }

    /// Takes the completions that are there.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        for _ in 0..MOST_FLUSHES {
            if !self.ring.reap(&mut self.backlog) {
                break;
            }
            self.statistics.overflows += 1;
            self.enter(Sleep::Look)?;
        }
        Ok(())
    }

    /// Works one completion off.
    #[inline]
    pub(super) fn complete(&mut self, completion: Completion) -> Option<Event<Socket>> {
        let (class, id) = completion.tag.parts()?;
        match class {
            Class::Incoming => self.incoming(id, completion),
            Class::Outgoing => self.outgoing(id, completion.result),
            Class::Loan => self.loan(id, completion),
            Class::CancelIncoming => {
                // It was not found: it has ended by itself, or is just being worked on. Then it is tried again.
                if let Some(entry) = self.entries.get_mut(id)
                    && let Incoming::Cancelling(what) = entry.incoming
                {
                    entry.incoming = Incoming::Armed(what);
                    self.mark_stale(id);
                }
                None
            }
            Class::CancelOutgoing => {
                if let Some(entry) = self.entries.get_mut(id)
                    && entry.outgoing == Outgoing::Cancelling
                {
                    entry.outgoing = Outgoing::UnderWay;
                    self.mark_stale(id);
                }
                None
            }
            Class::Bell => {
                self.bell_armed = completion.more();
                None
            }
        }
    }
}
