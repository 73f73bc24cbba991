//! A connection of the played kernel.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use linkpoll::driver::epoll::{Interest, Readiness};
use linkpoll::net::Address;
use linkpoll_model::conn::{Attempt, Direction, Note, Op, Outcome, Size, bytes, is_pattern};

/// An address that carries a connection's number.
pub(super) fn address_of(id: usize) -> Address {
    let port = u16::try_from(id + 1).expect("there are fewer connections than ports");
    Address::Tcp(SocketAddr::from(([192, 0, 2, 1], port)))
}

/// The addresses that a dial tries, one for each attempt.
pub(super) fn addresses_of(id: usize, outcome: Outcome) -> Vec<Address> {
    outcome.attempts().map(|_| address_of(id)).collect()
}

pub(super) fn id_of(address: &Address) -> usize {
    match address {
        Address::Tcp(address) => usize::from(address.port()) - 1,
        Address::Unix(path) => panic!("not an address of the played kernel: {}", path.display()),
    }
}

/// What the kernel knows of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    id: usize,
    /// The other end of the descriptor that the driver has: when that is closed, this one sees its end.
    life: Option<(UnixStream, RawFd)>,
    /// Those of earlier attempts to connect.
    lives: Vec<UnixStream>,
    /// Attempts to connect that are to come, and the one that is under way.
    attempts: VecDeque<Attempt>,
    connecting: Option<Attempt>,
    pub(super) token: u64,
    pub(super) interest: Option<Interest>,
    /// Something has happened since the last report (edge-triggered).
    woken: bool,
    spurious: Option<Readiness>,
    /// Bytes that wait to be received, and bytes received so far.
    waiting: usize,
    received: usize,
    late: usize,
    ended: bool,
    /// The error that the next call is told, and whether the connection is dead.
    error: Option<i32>,
    dead: bool,
    /// Bytes that a send may take, at most so many at a time, and bytes taken so far.
    room: usize,
    at_most: usize,
    took: usize,
    shut: bool,
    fail_send: Option<i32>,
    fail_receive: Option<i32>,
}

impl Socket {
    pub(super) fn new(id: usize) -> Self {
        Self {
            id,
            life: None,
            lives: Vec::new(),
            attempts: VecDeque::new(),
            connecting: None,
            token: 0,
            interest: None,
            woken: false,
            spurious: None,
            waiting: 0,
            received: 0,
            late: 0,
            ended: false,
            error: None,
            dead: false,
            room: 0,
            at_most: usize::MAX,
            took: 0,
            shut: false,
            fail_send: None,
            fail_receive: None,
        }
    }

    /// The end of a dial.
    pub(super) fn dialled(id: usize, outcome: Outcome) -> Self {
        Self { attempts: outcome.attempts().collect(), ..Self::new(id) }
    }

    /// The driver's descriptor, once.
    pub(super) fn accept(&mut self) -> io::Result<(OwnedFd, Note)> {
        Ok((self.descriptor()?, Note::Accepted(self.id)))
    }

    fn descriptor(&mut self) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let before = self.life.replace((ours, theirs.as_raw_fd()));
        self.lives.extend(before.map(|(ours, _)| ours));
        self.interest = None;
        Ok(OwnedFd::from(theirs))
    }

    /// connect(2): a descriptor, and whether it is connected; and what is to be noted, also of one that fails.
    pub(super) fn connect(&mut self) -> (io::Result<(OwnedFd, bool)>, Vec<Note>) {
        let attempt = self.attempts.pop_front().unwrap_or(Attempt::IsRefused);
        let tried = Note::Tried(self.id);
        match attempt {
            Attempt::IsRefused => {
                return (Err(io::Error::from_raw_os_error(nix_free::ECONNREFUSED)), vec![tried]);
            }
            Attempt::FindsNoRoom(left) if left > 0 => {
                self.attempts.push_front(Attempt::FindsNoRoom(left - 1));
                return (Err(ErrorKind::WouldBlock.into()), Vec::new());
            }
            _ => {}
        }
        let connected = matches!(attempt, Attempt::Connects | Attempt::FindsNoRoom(_));
        self.connecting = (!connected).then_some(attempt);
        let notes = [tried, Note::Attempted(self.id)].into_iter();
        let notes = notes.chain(connected.then_some(Note::Connected(self.id))).collect();
        (self.descriptor().map(|fd| (fd, connected)), notes)
    }

    /// What has come of it.
    pub(super) fn connect_result(&mut self) -> io::Result<Note> {
        match self.connecting.take() {
            Some(Attempt::ConnectsLater) => {
                self.woken = true;
                Ok(Note::Connected(self.id))
            }
            _ => Err(io::Error::from_raw_os_error(nix_free::ECONNREFUSED)),
        }
    }

    /// Whether this is the connection of a descriptor.
    pub(super) fn has(&self, fd: RawFd) -> bool {
        self.life.as_ref().is_some_and(|(_, theirs)| *theirs == fd)
    }

    /// Notices that the driver has closed its descriptor.
    pub(super) fn look(&mut self) -> Vec<Note> {
        let has_gone = |ours: &mut UnixStream| matches!(ours.read(&mut [0]), Ok(0));
        let before = self.lives.len();
        self.lives.retain_mut(|ours| !has_gone(ours));
        let mut gone = before - self.lives.len();
        if self.life.as_mut().is_some_and(|(ours, _)| has_gone(ours)) {
            self.life = None;
            self.interest = None;
            self.connecting = None;
            gone += 1;
        }
        vec![Note::Gone(self.id); gone]
    }

    /// Something happens at the other end. Answers what is to be noted.
    pub(super) fn play(&mut self, op: Op) -> Vec<Note> {
        match op {
            Op::Arrive { size, .. } => return Vec::from_iter(self.arrive(Size(size).bytes())),
            Op::ArriveLate { size, .. } if !self.ended && !self.dead => self.late += Size(size).bytes(),
            Op::End { .. } if !self.ended && !self.dead => {
                // What was to come late comes before the end.
                let late = self.arrive_late();
                self.ended = true;
                self.wake(Readiness::RECEIVE);
                return late.into_iter().chain([Note::PeerEnded(self.id)]).collect();
            }
            Op::Reset { .. } if !self.dead => {
                self.break_down(nix_free::ECONNRESET);
                return vec![Note::Broke(self.id)];
            }
            Op::Room { size, .. } => self.make_room(Size(size).bytes()),
            Op::ShortSends { size, .. } => self.at_most = Size(size).bytes().max(1),
            Op::FailSend { how, .. } => self.fail_send = Some(nix_free::SEND[usize::from(how) % 4]),
            Op::FailReceive { how, .. } => self.fail_receive = Some(nix_free::RECEIVE[usize::from(how) % 4]),
            Op::Spurious { bits, .. } => {
                // The end is never reported falsely: it is a state of the connection, not a guess about its queues.
                self.spurious = Some(if bits % 2 == 0 { Readiness::RECEIVE } else { Readiness::SEND });
            }
            _ => {}
        }
        Vec::new()
    }

    /// The peer reads everything, and ends.
    pub(super) fn settle(&mut self) -> Vec<Note> {
        self.fail_send = None;
        self.fail_receive = None;
        self.make_room(usize::MAX / 2);
        self.play(Op::End { conn: 0 })
    }

    fn arrive(&mut self, n: usize) -> Option<Note> {
        if self.ended || self.dead || n == 0 {
            return None;
        }
        self.waiting += n;
        self.wake(Readiness::RECEIVE);
        Some(Note::Arrived(self.id, n))
    }

    fn make_room(&mut self, n: usize) {
        let was_full = self.room == 0;
        self.room = self.room.saturating_add(n).min(usize::MAX / 2);
        if was_full && n > 0 {
            self.wake(Readiness::SEND);
        }
    }

    fn break_down(&mut self, error: i32) {
        self.error = Some(error);
        self.dead = true;
        self.wake(Readiness::ERROR);
    }

    /// Something has happened that is watched for. Errors always are.
    fn wake(&mut self, what: Readiness) {
        let watched = self.interest.is_some_and(|interest| {
            (interest.receive && what == Readiness::RECEIVE) || (interest.send && what == Readiness::SEND)
        });
        self.woken |= watched || what == Readiness::ERROR;
    }

    /// Watching begins or changes: what is there already counts as having just happened.
    pub(super) fn watch(&mut self, token: u64, interest: Interest) {
        self.token = token;
        self.interest = Some(interest);
        self.woken = true;
    }

    /// What is to be reported now.
    pub(super) fn report(&mut self) -> Option<Readiness> {
        let interest = self.interest?;
        if let Some(attempt) = self.connecting {
            return match attempt {
                Attempt::ConnectsLater if interest.send => Some(Readiness::SEND),
                Attempt::IsRefusedLater => Some(Readiness::SEND.and(Readiness::ERROR).and(Readiness::HANGUP)),
                _ => None,
            };
        }
        let spurious = self.spurious.take().filter(|what| match *what {
            Readiness::RECEIVE => interest.receive,
            _ => interest.send,
        });
        if interest.edge && !std::mem::take(&mut self.woken) {
            return spurious;
        }
        let states = [
            (interest.receive && (self.waiting > 0 || self.ended || self.dead), Readiness::RECEIVE),
            (interest.receive && (self.ended || self.dead), Readiness::END),
            (interest.send && (self.room > 0 || self.shut || self.dead), Readiness::SEND),
            (self.dead, Readiness::ERROR),
            (self.dead || (self.ended && self.shut), Readiness::HANGUP),
        ];
        let real = states.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what);
        real.chain(spurious).reduce(Readiness::and)
    }

    /// recv(2). Takes all there is room for, as stream sockets do.
    pub(super) fn receive(&mut self, first: &mut [u8], second: &mut [u8]) -> io::Result<(usize, Vec<Note>)> {
        let mut notes = Vec::new();
        if first.is_empty() && second.is_empty() {
            notes.push(Note::Fault("a receive of no bytes, which looks like the end".to_owned()));
        }
        if let Some(error) = self.fail_receive.take() {
            self.break_down(error);
            self.waiting = 0;
            notes.push(Note::Broke(self.id));
        }
        let n = self.waiting.min(first.len() + second.len());
        if n > 0 {
            let came = bytes(self.id, Direction::In, self.received, n);
            let (front, back) = came.split_at(n.min(first.len()));
            first[..front.len()].copy_from_slice(front);
            second[..back.len()].copy_from_slice(back);
            self.waiting -= n;
            self.received += n;
            notes.push(Note::Received(self.id, n));
            notes.extend(self.arrive_late());
            return Ok((n, notes));
        }
        match self.error.take() {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None if self.ended || self.dead => {
                notes.push(Note::EndSeen(self.id));
                Ok((0, notes))
            }
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn arrive_late(&mut self) -> Option<Note> {
        let late = std::mem::take(&mut self.late);
        self.arrive(late)
    }

    /// sendmsg(2).
    pub(super) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<(usize, Vec<Note>)> {
        let mut notes = Vec::new();
        if pieces.is_empty() || pieces.len() > 1024 || pieces.iter().any(|piece| piece.is_empty()) {
            notes.push(Note::Fault(format!("a send of {} pieces, or with an empty one", pieces.len())));
        }
        if let Some(error) = self.fail_send.take() {
            self.break_down(error);
        }
        if let Some(error) = self.error.take() {
            return Err(io::Error::from_raw_os_error(error));
        }
        if self.shut || self.dead {
            return Err(io::Error::from_raw_os_error(nix_free::EPIPE));
        }
        if self.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let n = offered.min(self.room).min(self.at_most);
        let mut left = n;
        for piece in pieces {
            let part = &piece[..piece.len().min(left)];
            if !is_pattern(self.id, Direction::Out, self.took + n - left, part) {
                notes.push(Note::Fault(format!("connection {}: other bytes than were written", self.id)));
            }
            left -= part.len();
        }
        self.room -= n;
        self.took += n;
        notes.push(Note::Took(self.id, n));
        Ok((n, notes))
    }

    pub(super) fn shut(&mut self) -> io::Result<Note> {
        self.shut = true;
        self.woken = true;
        Ok(Note::Shut(self.id))
    }

    /// Whether the connection is dead, so that a failure of a call is to be noted.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }
}

/// The numbers of errors on Linux, the same on every architecture that counts here.
mod nix_free {
    pub(super) const EPIPE: i32 = 32;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const ECONNRESET: i32 = 104;
    /// ENOBUFS, EPIPE, ETIMEDOUT, EHOSTUNREACH.
    pub(super) const SEND: [i32; 4] = [105, 32, 110, 113];
    /// ECONNRESET, ETIMEDOUT, ENOMEM, EHOSTUNREACH.
    pub(super) const RECEIVE: [i32; 4] = [104, 110, 12, 113];
}
