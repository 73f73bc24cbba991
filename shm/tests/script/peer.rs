//! The side that may do anything.
#![allow(unsafe_code, reason = "a hostile peer writes into its memory behind the back of its own rings")]

use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;

use linkpoll::buffer::Segment;
use linkpoll_shm::bulk::BulkBuffer;
use linkpoll_shm::handshake::Established;
use linkpoll_shm::layout;
use linkpoll_shm::region::{OwnRegion, PeerRegion};
use linkpoll_shm::ring::{Kind, PushError};
use linkpoll_shm::slots::{self, CHUNK, Ends, Loan};
use linkpoll_shm::storage::{Mapped, Word};
use linkpoll_shm::wake::Doorbell;
use linkpoll_shm::wire::{AddArena, Arrival, Bulk, Control, Frame, Hello, Refusal, Role};

use super::loans::Loans;
use super::victim::Victim;
use super::{bytes_of_stream, is_stream, write_stream};

/// A peer with honest ends, and a pen.
pub(crate) struct Peer {
    role: Role,
    control: Option<Control>,
    raw: UnixStream,
    ends: Ends<Mapped<(OwnRegion, PeerRegion)>, Segment>,
    loans: Loans,
    /// It has shown memory: what is received need not come through the ring.
    pub(crate) shows_memory: bool,
    /// The victim maps such memory.
    maps: bool,
    own: NonNull<u8>,
    own_len: usize,
    capacity: u32,
    theirs: NonNull<u8>,
    /// It has kept to the protocol so far.
    pub(crate) honest: bool,
    /// Bytes pushed, and those of them that are published.
    pub(crate) pushed: u64,
    pub(crate) published: u64,
    /// All that its tail has ever claimed.
    pub(crate) claimed: u64,
    /// Bytes read.
    pub(crate) heard: u64,
    /// Its consumer sleeps until records come.
    pub(crate) asleep: bool,
    bulks: u32,
}

impl Peer {
    pub(crate) fn new(established: Established) -> Self {
        let Established { control, own, peer, agreed, role, .. } = established;
        let raw = control.as_fd().try_clone_to_owned().expect("a descriptor").into();
        let (base, len, theirs) = (own.base(), own.len(), peer.base());
        let storage = Mapped::new((own, peer), agreed.own.ring as usize, agreed.peer.ring as usize);
        Self {
            role,
            control: Some(control),
            raw,
            ends: slots::ends(storage.expect("the rings fit")),
            loans: Loans::default(),
            shows_memory: false,
            maps: agreed.peer.arena > 0,
            own: base,
            own_len: len,
            capacity: agreed.own.ring,
            theirs,
            honest: true,
            pushed: 0,
            published: 0,
            claimed: 0,
            heard: 0,
            asleep: false,
            bulks: 0,
        }
    }

    pub(crate) fn longest(&self) -> usize {
        self.ends.producer.longest()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ends.producer.is_ended()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.control.is_some()
    }

    fn ring(&mut self, doorbell: Doorbell) {
        if doorbell.is_due()
            && let Some(control) = &mut self.control
        {
            // A victim that is gone hears nothing.
            drop(control.ring());
        }
    }

    /// Stages a record of so many bytes of the stream, if there is room.
    pub(crate) fn push(&mut self, len: usize) {
        let at = self.pushed;
        let bytes = bytes_of_stream(at, len);
        match self.ends.producer.push(Kind::Inline, &bytes) {
            Ok(()) => self.pushed += len as u64,
            Err(PushError::Full | PushError::Ended) => {}
            Err(other) => panic!("the victim keeps to the protocol: {other}"),
        }
    }

    pub(crate) fn publish(&mut self, victim: &mut Victim) {
        let news = self.ends.producer.has_staged();
        let doorbell = self.ends.producer.publish();
        self.has_published(victim, news, doorbell);
    }

    fn has_published(&mut self, victim: &mut Victim, news: bool, doorbell: Doorbell) {
        self.published = self.pushed;
        assert!(doorbell.is_due() || !(news && victim.sleeps && self.honest), "who sleeps is rung for");
        victim.sleeps &= !news;
        self.ring(doorbell);
    }

    /// Reads records of the victim's.
    pub(crate) fn read(&mut self, victim: &mut Victim, records: usize) {
        self.asleep = false;
        for _ in 0..records {
            let record = match self.ends.consumer.pop() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(violation) => {
                    assert!(!self.honest, "the victim keeps to the protocol: {violation}");
                    return;
                }
            };
            let bytes = match record.kind() {
                Kind::Inline => {
                    let mut bytes = vec![0; record.len()];
                    record.copy_to(0, &mut bytes);
                    bytes
                }
                Kind::Lent if self.honest => self.loans.read(&record),
                Kind::Lent => return,
                _ => Vec::new(),
            };
            match record.kind() {
                Kind::Inline | Kind::Lent => {
                    let is_right = is_stream(self.heard, &bytes);
                    assert!(is_right || !self.honest, "bytes around {} are wrong", self.heard);
                    self.heard += bytes.len() as u64;
                }
                Kind::End => assert!(victim.ended),
                other => panic!("a record of kind {other:?}"),
            }
        }
        if self.honest {
            assert!(self.heard <= victim.sent, "more than was sent");
        }
    }

    pub(crate) fn settle(&mut self, all: bool) {
        let doorbell = if all { self.ends.consumer.publish() } else { self.ends.consumer.settle() };
        self.ring(doorbell);
    }

    /// Sleeps until the victim sends.
    pub(crate) fn park(&mut self, victim: &Victim) {
        match self.ends.consumer.park() {
            Ok(park) => {
                self.asleep = park.may_sleep && !victim.ended;
                self.ring(park.doorbell);
            }
            Err(violation) => assert!(!self.honest, "the victim keeps to the protocol: {violation}"),
        }
    }

    /// Sleeps until the victim has made room, of which it has need.
    pub(crate) fn wait_for_room(&mut self, victim: &mut Victim) {
        let news = self.ends.producer.has_staged();
        match self.ends.producer.park(self.longest()) {
            Ok(park) => self.has_published(victim, news, park.doorbell),
            Err(violation) => assert!(!self.honest, "the victim keeps to the protocol: {violation}"),
        }
    }

    pub(crate) fn end(&mut self) {
        self.ends.producer.end();
    }

    /// Sends sealed memory, first the frame, then its record.
    pub(crate) fn give_bulk(&mut self, len: usize) {
        let Some(control) = self.control.as_mut().filter(|_| self.ends.producer.used() < 1024) else {
            return;
        };
        if self.ends.producer.is_ended() || self.bulks >= 8 {
            return;
        }
        let mut memory = BulkBuffer::new(len).expect("memory");
        write_stream(self.pushed, memory.bytes());
        let fd = memory.seal().expect("it is sealed").into_descriptor();
        let bulk = Bulk { sequence: self.bulks, len: u32::try_from(len).expect("small") };
        if !matches!(control.send(Frame::Bulk(bulk, fd)), Ok(true)) {
            // The socket is full, or broken: the record may not come before the frame.
            self.honest = false;
            return;
        }
        let record = [bulk.sequence.to_le_bytes(), bulk.len.to_le_bytes()].concat();
        match self.ends.producer.push(Kind::Bulk, &record) {
            Ok(()) => {
                self.bulks += 1;
                self.pushed += len as u64;
            }
            Err(_) => self.honest = false,
        }
    }

    /// Reads its socket.
    pub(crate) fn listen(&mut self) {
        let Some(control) = &mut self.control else { return };
        while matches!(control.receive(), Ok(Arrival::Bytes)) {
            while let Ok(Some(frame)) = control.take() {
                match frame {
                    Frame::Doorbell => {}
                    Frame::AddArena(arena, fd) if self.honest => self.loans.map(arena, fd, control),
                    Frame::ArenaReady(0) if self.honest => self.loans.ready(),
                    other => assert!(!self.honest, "{other:?}"),
                }
            }
        }
    }

    /// Lends bytes of the stream; the first time, it only shows the memory.
    pub(crate) fn lend(&mut self, len: usize) {
        let Some(control) = &mut self.control else { return };
        if !self.shows_memory {
            if !self.maps {
                return;
            }
            self.shows_memory = true;
            return self.loans.show(control);
        }
        let Ends { producer, lender, .. } = &mut self.ends;
        let back = lender.collect(drop);
        assert!(back.is_ok() || !self.honest, "the victim keeps to the protocol: {back:?}");
        if back.is_ok() && self.loans.lend(producer, lender, self.pushed, len) {
            self.pushed += len as u64;
        }
    }

    /// Gives back what the victim has lent.
    pub(crate) fn give_back(&mut self, how_many: usize, last_first: bool) {
        self.loans.give_back(&mut self.ends.borrower, how_many, last_first);
        let doorbell = self.ends.borrower.publish();
        self.ring(doorbell);
    }

    /// Closes its socket, or one direction of it.
    pub(crate) fn close(&mut self, how: u8) {
        match how % 4 {
            0 => drop(self.raw.shutdown(Shutdown::Write)),
            1 => {
                self.honest = false;
                drop(self.raw.shutdown(Shutdown::Read));
            }
            _ => drop(self.raw.shutdown(Shutdown::Both)),
        }
        self.control = None;
    }

    /// Moves a word by a few, from what it is.
    pub(crate) fn nudge_word(&mut self, which: u8, by: u8) {
        let word = Word::ALL[usize::from(which) % Word::ALL.len()];
        let step = i32::from(by.cast_signed()) * if which & 0x80 == 0 { 8 } else { 1 };
        let value = self.word(word).wrapping_add_signed(step);
        self.store(word, value);
    }

    pub(crate) fn set_word(&mut self, which: u8, value: u32) {
        self.store(Word::ALL[usize::from(which) % Word::ALL.len()], value);
    }

    /// Writes the head of a record into its ring, often where the victim is about to read.
    pub(crate) fn scribble_header(&mut self, at: u16, len: u32, kind: u8) {
        let len = if kind & 8 == 0 { len } else { len % self.capacity };
        let kind = match kind % 8 {
            0 => 0x5041_4421,
            kind @ 1..=6 => u32::from(kind),
            _ => u32::from(kind) << 16,
        };
        let near = self.victims_word(Word::Head).wrapping_add(u32::from(at >> 12) * 8);
        let at = if at & 1 == 0 { near } else { u32::from(at) };
        let at = layout::RING + (at % self.capacity / 8 * 8) as usize;
        self.write(at, &len.to_le_bytes());
        self.write(at + 4, &kind.to_le_bytes());
    }

    /// Writes bytes anywhere into its region.
    pub(crate) fn scribble(&mut self, at: usize, n: usize, value: u8) {
        let at = at % self.own_len;
        self.write(at, &vec![value; n.min(self.own_len - at)]);
    }

    pub(crate) fn release(&mut self, ticket: u32) {
        self.honest = false;
        self.ends.borrower.release(ticket);
        let doorbell = self.ends.borrower.publish();
        self.ring(doorbell);
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.honest = false;
        if self.control.is_some() {
            self.raw.set_nonblocking(true).expect("a flag");
            drop(self.raw.write(bytes));
        }
    }

    pub(crate) fn say_frame(&mut self, kind: u8, number: u32, len: u32) {
        let honest = std::mem::replace(&mut self.honest, false);
        let Some(control) = &mut self.control else { return };
        let hello = Hello { versions: (1, 1), features: number, role: Role::Client, nonce: len.into() };
        let frame = match kind % 9 {
            0 => {
                self.honest = honest;
                Frame::Doorbell
            }
            1 => {
                self.honest = honest && self.role == Role::Server;
                Frame::GoAway
            }
            2 => Frame::Refused(Refusal::from_code(number.to_le_bytes()[0].into())),
            3 => Frame::Hello(hello),
            4 => Frame::Ready,
            5 => Frame::AskStatistics,
            6 => Frame::Statistics(String::from("x 1")),
            7 => Frame::ArenaReady(number % 4),
            _ => {
                self.shows_memory = true;
                let (len, said) = ((len as usize % (64 << 10)).max(1), len % (2 << 20));
                let Ok((_, fd)) = OwnRegion::create(len) else { return };
                let len = if number & 8 == 0 { u32::try_from(len).unwrap_or(0) } else { said };
                Frame::AddArena(AddArena { number: number % 4, len }, fd)
            }
        };
        drop(control.send(frame));
    }

    /// Sends sealed memory whose frame, or kind, is wrong in some way.
    pub(crate) fn lie_about_bulk(&mut self, number: u32, len: usize) {
        self.honest = false;
        let Some(control) = &mut self.control else { return };
        let fd = if number & 1 == 0 {
            OwnRegion::create(len + 1).expect("memory").1
        } else {
            BulkBuffer::new(len + 1).and_then(BulkBuffer::seal).expect("memory").into_descriptor()
        };
        let sequence = if number & 2 == 0 { self.bulks } else { number };
        let said = if number & 4 == 0 { len + 1 } else { number as usize };
        let said = u32::try_from(said).unwrap_or(u32::MAX);
        drop(control.send(Frame::Bulk(Bulk { sequence, len: said }, fd)));
        self.bulks = self.bulks.wrapping_add(1);
    }

    /// Stages a record of any kind, with any bytes.
    pub(crate) fn push_anything(&mut self, kind: u8, bytes: &[u8]) {
        self.honest = false;
        let kinds = [Kind::Inline, Kind::Lent, Kind::Bulk, Kind::End, Kind::Part, Kind::Void];
        let kind = kinds[usize::from(kind) % kinds.len()];
        let _ = self.ends.producer.push(kind, bytes);
    }

    /// Lends memory that is not there, or not all of it.
    pub(crate) fn lie_about_loan(&mut self, arena: u8, offset: u32, length: u32) {
        self.honest = false;
        let most = u32::try_from(CHUNK).expect("a mebibyte") + 64;
        let (offset, length) = (offset % most, if length & 1 == 0 { length } else { length % most });
        let loan = Loan { arena: u32::from(arena % 3), offset, length, ticket: offset };
        let _ = self.ends.producer.push(Kind::Lent, &loan.encode());
    }

    /// A word of its own region, as it stands there.
    pub(crate) fn word(&self, word: Word) -> u32 {
        read(self.own, word)
    }

    /// A word of the victim's region.
    pub(crate) fn victims_word(&self, word: Word) -> u32 {
        read(self.theirs, word)
    }

    /// Takes note of what the tail claims now.
    pub(crate) fn note_claim(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "the counter is as wide as the word")]
        let more = self.word(Word::Tail).wrapping_sub(self.claimed as u32);
        if more <= self.capacity {
            self.claimed += u64::from(more);
        }
    }

    fn store(&mut self, word: Word, value: u32) {
        self.write(word.offset(), &value.to_le_bytes());
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.honest = false;
        assert!(at <= self.own_len && bytes.len() <= self.own_len - at, "inside of the region");
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: inside of the region, which `ends` keeps mapped.
            let to = unsafe { self.own.add(at + n) };
            // SAFETY: as above, for writing; nobody has a reference to it now.
            unsafe { to.write_volatile(*byte) }
        }
    }
}

fn read(region: NonNull<u8>, word: Word) -> u32 {
    // SAFETY: the word lies inside of the region, whose owner is borrowed.
    let at = unsafe { region.add(word.offset()) };
    // SAFETY: as above, and aligned.
    u32::from_le(unsafe { at.cast::<u32>().read_volatile() })
}
