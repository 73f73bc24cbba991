//! What a peer that keeps to the protocol does with memory that is lent, in both directions.

use std::collections::VecDeque;

use linkpoll::buffer::Segment;
use linkpoll_shm::region::{OwnRegion, PeerRegion};
use linkpoll_shm::ring::{Kind, Record};
use linkpoll_shm::ring::{Producer, PushError};
use linkpoll_shm::slots::{Arena, Borrower, CHUNK, Lender, Loan};
use linkpoll_shm::storage::{Storage, copy_out};
use linkpoll_shm::wire::{AddArena, Control, Frame};

use super::write_stream;

/// Arenas, and who has what.
#[derive(Default)]
pub(crate) struct Loans {
    arena: Arena<OwnRegion>,
    /// A chunk that the victim has not mapped yet.
    shown: Option<OwnRegion>,
    /// The victim's.
    theirs: Vec<PeerRegion>,
    /// Tickets to release.
    borrowed: VecDeque<u32>,
}

impl Loans {
    /// Shows a chunk of memory, if none is shown yet.
    pub(crate) fn show(&mut self, control: &mut Control) {
        if self.shown.is_none() && self.arena.chunks() == 0 {
            let (memory, fd) = OwnRegion::create(CHUNK).expect("memory");
            let len = u32::try_from(CHUNK).expect("a mebibyte");
            drop(control.send(Frame::AddArena(AddArena { number: 0, len }, fd)));
            self.shown = Some(memory);
        }
    }

    /// The victim has mapped it.
    pub(crate) fn ready(&mut self) {
        if let Some(memory) = self.shown.take() {
            drop(self.arena.add(memory));
        }
    }

    /// Lends so many bytes of the stream from `at` on. Answers whether there was room in the ring and in the arena.
    pub(crate) fn lend<S: Storage>(
        &mut self,
        producer: &mut Producer<S>,
        lender: &mut Lender<S, Segment>,
        at: u64,
        len: usize,
    ) -> bool {
        let Some(mut tail) = self.arena.allocate(len) else { return false };
        write_stream(at, &mut tail.spare()[..len]);
        let segment = tail.commit(len);
        let placed = self.arena.place(&segment).expect("it was allocated there");
        // Room first: a ticket for a loan that is not sent would never come back.
        match producer.reserve(Loan::LEN) {
            Ok(room) => drop(room),
            Err(PushError::Violation(other)) => panic!("the victim keeps to the protocol: {other}"),
            Err(_) => return false,
        }
        let Ok(ticket) = lender.lend(segment) else { return false };
        let loan = Loan { arena: placed.arena, offset: placed.offset, length: placed.length, ticket };
        producer.push(Kind::Lent, &loan.encode()).expect("there was room");
        true
    }

    /// Maps an arena of the victim's.
    pub(crate) fn map(&mut self, arena: AddArena, fd: std::os::fd::OwnedFd, control: &mut Control) {
        assert_eq!(arena.number as usize, self.theirs.len(), "arenas come in order");
        self.theirs.push(PeerRegion::accept(fd, arena.len as usize).expect("the victim seals its memory"));
        drop(control.send(Frame::ArenaReady(arena.number)));
    }

    /// Copies out what the victim lends.
    pub(crate) fn read<S: Storage>(&mut self, record: &Record<'_, S>) -> Vec<u8> {
        let loan = Loan::decode(record).expect("the victim keeps to the protocol");
        let arena = &self.theirs[loan.arena as usize];
        let (at, len) = loan.check(arena.len()).expect("the victim keeps to the protocol");
        let mut bytes = vec![0; len];
        copy_out(arena, at, &mut bytes);
        self.borrowed.push_back(loan.ticket);
        bytes
    }

    /// Gives back some of it, in this order or another.
    pub(crate) fn give_back<S: Storage>(
        &mut self,
        borrower: &mut Borrower<S>,
        how_many: usize,
        last_first: bool,
    ) {
        for _ in 0..how_many {
            let ticket = if last_first { self.borrowed.pop_back() } else { self.borrowed.pop_front() };
            let Some(ticket) = ticket else { break };
            borrower.release(ticket);
        }
    }
}
