//! The outgoing half: one send under way per connection, and memory that is lent.
//!
//! What is given to `send` is put behind what waits already, and goes out with the next wait; all connections' sends with
//! one call. While a send is under way the kernel reads from the chain, so what is given meanwhile waits apart.
//!
//! # Loans
//!
//! A send that lends its memory has two completions: its result, and a notification that the memory is free. Whether the
//! notification comes is decided by the result's `more`, never by its number: failed sends have one, too.
//!
//! ```text
//!             result, more            notification
//!   under way ------------> outstanding ---------> free        the next send may start at the result
//!       |                                            ^
//!       +----------------- result, no more ----------+
//! ```
//!
//! A loan holds references to what it has lent, so the memory is not used again before, whatever becomes of the
//! connection. Notifications may be late (the peer's system acknowledges when it likes) and may come after `Closed`.
#![expect(unsafe_code, reason = "sends name memory that must stay")]

use std::io;
use std::time::Instant;

use linkpoll::buffer::Chain;
use linkpoll::driver::epoll::Socket;
use linkpoll::driver::{Event, Key, Lending, Token, system};

use super::Uring;
use super::entry::{Kind, Outgoing};
use super::ring::{Completion, MOST_PIECES, Operation, Ring};
use super::tag::{Class, Id, Tag};

/// Loans in a row that must have been copied before a connection stops lending.
const COPIED: u16 = 4;
/// After so many sends that were not lent for that reason, one is tried again.
const RETRY: u16 = 1024;

/// Memory that the kernel reads from.
#[derive(Debug)]
pub(super) struct Loan {
    entry: Id,
    /// Holds the memory.
    _chain: Chain,
    at: Instant,
    start: u64,
    end: u64,
}

impl Loan {
    /// Whose it is.
    pub(super) fn entry(&self) -> Id {
        self.entry
    }
}

impl<R: Ring> Uring<R> {
    pub(super) fn send_later(&mut self, key: Key, mut chain: Chain, token: Option<Token>) {
        let Some((id, entry)) = self.entry_of(key).filter(|(_, entry)| !entry.failed) else {
            self.events.extend(token.map(|token| Event::Released(token, Lending::Copied)));
            return;
        };
        if matches!(entry.outgoing, Outgoing::UnderWay | Outgoing::Cancelling) {
            // It may wait for long; a small part must not keep a large block.
            chain.compact();
            entry.behind.get_or_insert_default().append(chain);
        } else {
            if entry.out.is_empty() {
                entry.out = chain;
            } else {
                entry.out.append(chain);
            }
            if entry.outgoing == Outgoing::Idle && entry.kind == Kind::Connection && !entry.out.is_empty() {
                entry.outgoing = Outgoing::Listed;
                self.listed.push(id);
            }
        }
        if let Some(token) = token
            && let Some(entry) = self.entries.get_mut(id)
        {
            let end = entry.given();
            entry.ledger.get_or_insert_default().tokens.push_back((end, token));
            self.release_due(id);
        }
    }

    /// Has an entry's bytes sent with the next wait.
    pub(super) fn list(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(id)
            && entry.outgoing == Outgoing::Idle
        {
            entry.outgoing = Outgoing::Listed;
            self.listed.push(id);
        }
    }

    /// Queues a send for each entry that is listed.
    pub(super) fn submit_sends(&mut self) -> io::Result<()> {
        let mut listed = std::mem::take(&mut self.listed);
        let mut done = 0;
        for id in &listed {
            if !self.submit_send(*id)? {
                break;
            }
            done += 1;
        }
        listed.drain(..done);
        // Nobody was listed meanwhile: that happens between waits.
        self.listed = listed;
        Ok(())
    }

    /// Queues the send of an entry. Answers `false` when there is no room for it.
    #[inline]
    fn submit_send(&mut self, id: Id) -> io::Result<bool> {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.outgoing == Outgoing::Listed) else {
            return Ok(true);
        };
        let pieces = entry.out.pieces().min(MOST_PIECES);
        if pieces == 0 || entry.failed || entry.ending {
            entry.outgoing = Outgoing::Idle;
            return Ok(true);
        }
        if !self.make_room(pieces)? {
            return Ok(false);
        }
        let lends = self.options.lend_from;
        let Some(entry) = self.entries.get_mut(id) else { return Ok(true) };
        let mut tag = Tag::new(Class::Outgoing, id);
        if let Some(least) = lends
            && entry.out.len() >= least
            && entry.lends(least)
            && let Some(loan) = self.lend(id)
        {
            tag = Tag::new(Class::Loan, loan);
        }
        let Some(entry) = self.entries.get_mut(id) else { return Ok(true) };
        let Some(fd) = entry.fd.as_ref() else { return Ok(true) };
        use std::os::fd::AsFd as _;
        let operation = match tag.parts() {
            Some((Class::Loan, _)) => Operation::Lend(fd.as_fd(), &entry.out),
            _ => Operation::Send(fd.as_fd(), &entry.out),
        };
        // SAFETY: the descriptor is closed only when the entry's operations have ended. The chain is not touched while
        // the send is `UnderWay`; what is lent is held by the loan until it is given back; what they refer to never changes.
        unsafe { self.ring.queue(operation, tag) };
        entry.outgoing = Outgoing::UnderWay;
        Ok(true)
    }

    /// Makes a loan of what is sent next.
    fn lend(&mut self, id: Id) -> Option<Id> {
        let entry = self.entries.get_mut(id)?;
        let mut chain = Chain::new();
        chain.extend(entry.out.segments().take(MOST_PIECES).cloned());
        let start = entry.sent;
        let loan =
            self.loans.insert(Loan { entry: id, _chain: chain, at: Instant::now(), start, end: start })?;
        let ledger = entry.ledger.get_or_insert_default();
        ledger.loans.push_back((start, loan));
        ledger.under_way = Some(loan);
        self.statistics.loans += 1;
        Some(loan)
    }

    /// A completion of a send that has lent its memory.
    pub(super) fn loan(&mut self, id: Id, completion: Completion) -> Option<Event<Socket>> {
        let loan = self.loans.get_mut(id)?;
        let of = loan.entry;
        if completion.is_notification() {
            let (start, end) = (loan.start, loan.end);
            self.give_back(id, of, start, end, completion.was_copied());
            return None;
        }
        if let Ok(len) = usize::try_from(completion.result) {
            loan.end = loan.start + len as u64;
            self.lent.lent(len);
        }
        let entry = self.entries.get_mut(of)?;
        if let Some(ledger) = &mut entry.ledger {
            ledger.under_way = None;
        }
        let mut result = completion.result;
        match -result {
            // The user has locked as much memory as he may, or the socket has taken as much as it may: copied instead.
            libc::ENOMEM | libc::ENOBUFS => {
                entry.copied = COPIED;
                result = -libc::EAGAIN;
            }
            libc::EOPNOTSUPP | libc::EINVAL => {
                entry.may_lend = false;
                result = -libc::EAGAIN;
            }
            _ => {}
        }
        if !completion.more() {
            self.give_back(id, of, 0, 0, true);
        }
        self.outgoing(of, result)
    }

    /// The kernel has let go of a loan.
    fn give_back(&mut self, id: Id, of: Id, start: u64, end: u64, copied: bool) {
        let loan = self.loans.remove(id);
        if let Some(loan) = loan.filter(|_| end > start) {
            let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
            self.lent.returned(bytes, loan.at.elapsed(), copied);
        }
        let Some(entry) = self.entries.get_mut(of) else { return };
        if let Some(ledger) = &mut entry.ledger {
            ledger.loans.retain(|(_, loan)| *loan != id);
            if !copied && end > start {
                ledger.lent_until = ledger.lent_until.max(end);
            }
        }
        if end > start {
            entry.copied = if copied { entry.copied.saturating_add(1) } else { 0 };
            self.statistics.copied += u64::from(copied);
        }
        self.release_due(of);
        self.finish(of);
    }

    /// The result of a send.
    #[inline]
    pub(super) fn outgoing(&mut self, id: Id, result: i32) -> Option<Event<Socket>> {
        let entry = self.entries.get_mut(id)?;
        entry.outgoing = Outgoing::Idle;
        let len = usize::try_from(result).unwrap_or(0);
        let skipped = entry.out.skip(len);
        debug_assert_eq!(skipped, Ok(()), "the kernel takes no more than it is offered");
        entry.sent += len as u64;
        let key = entry.key;
        if entry.ending || entry.failed {
            self.give_up_sending(id);
            self.finish(id);
            return None;
        }
        if result < 0 && !matches!(-result, libc::EAGAIN | libc::EINTR | libc::ECANCELED) {
            self.fail(id, io::Error::from_raw_os_error(-result));
            return None;
        }
        if !entry.out.is_empty() {
            entry.out.compact();
        }
        if let Some(behind) = entry.behind.take() {
            entry.out.append(*behind);
        }
        let rest = !entry.out.is_empty();
        let (waited_for, shutdown) = (entry.ledger.is_some(), entry.shutdown);
        if rest {
            self.list(id);
        }
        if waited_for {
            self.release_due(id);
        }
        if shutdown {
            self.end_sending(id);
        }
        (len > 0).then_some(Event::Sent(key, len))
    }

    /// Drops what will not be sent, once the kernel does not read from it any more.
    pub(super) fn give_up_sending(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if matches!(entry.outgoing, Outgoing::UnderWay | Outgoing::Cancelling) {
            return;
        }
        entry.outgoing = Outgoing::Idle;
        if !entry.detaching {
            entry.out = Chain::new();
            entry.behind = None;
        }
        self.release_due(id);
    }

    /// Ends the sending direction if that is due.
    pub(super) fn end_sending(&mut self, id: Id) {
        use std::os::fd::AsFd as _;
        let Some(entry) = self.entries.get_mut(id) else { return };
        let idle = entry.outgoing == Outgoing::Idle && entry.out.is_empty();
        if !entry.shutdown || !idle || entry.kind != Kind::Connection || entry.failed || entry.ending {
            return;
        }
        let Some(fd) = &entry.fd else { return };
        entry.shutdown = false;
        self.calls.other.add(1);
        let result = system::shutdown_send(fd.as_fd());
        entry.send_ended = true;
        self.mark_stale(id);
        if let Err(error) = result {
            self.fail(id, error);
        }
    }

    /// Releases the tokens whose memory is free: their bytes are sent, or never will be, and no loan began before their
    /// end.
    pub(super) fn release_due(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let under_way = matches!(entry.outgoing, Outgoing::UnderWay | Outgoing::Cancelling);
        let over = (entry.ending || entry.failed) && !under_way;
        let sent = entry.sent;
        let Some(ledger) = &mut entry.ledger else { return };
        while let Some((end, token)) = ledger.tokens.front().copied() {
            let lent = ledger.loans.iter().any(|(start, _)| *start < end);
            if lent || !(over || end <= sent) {
                break;
            }
            ledger.tokens.pop_front();
            let way = if ledger.lent_until > ledger.released { Lending::Lent } else { Lending::Copied };
            ledger.released = end;
            self.events.push_back(Event::Released(token, way));
        }
        if ledger.tokens.is_empty() && ledger.loans.is_empty() {
            entry.ledger = None;
        }
    }
}

impl super::entry::Entry {
    /// Whether the next send lends its memory: one of its pieces has at least so many bytes.
    fn lends(&mut self, least: usize) -> bool {
        if !self.may_lend || !self.out.segments().take(MOST_PIECES).any(|piece| piece.len() >= least) {
            return false;
        }
        if self.copied >= COPIED {
            self.copied += 1;
            if self.copied < RETRY {
                return false;
            }
            self.copied = COPIED - 1;
        }
        true
    }
}
