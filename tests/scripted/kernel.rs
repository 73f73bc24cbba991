//! The played kernel: carries out orders before each wait, and answers the driver's calls.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Interest, Readiness, Ready};
use linkpoll::net::Address;
use linkpoll_model::conn::{Note, Op, Outcome};

use super::socket::{Socket, address_of, id_of};

/// The token that the driver watches its bell with.
const BELL: u64 = u64::MAX;
/// The error of a connection that has gone before it was accepted.
const ECONNABORTED: i32 = 103;

/// What the kernel is to do before it next waits.
#[derive(Debug)]
pub(super) enum Order {
    /// A peer connects, under this number.
    Connect(usize),
    /// Somebody dials, under this number.
    Dial(usize, Outcome),
    /// A peer connects and is gone before it is accepted.
    Vanish,
    /// Something happens to a connection.
    Play(usize, Op),
    /// Every peer reads everything and ends.
    Settle,
    /// So much time passes.
    Pass(Duration),
    /// Nothing, but closed descriptors are noticed.
    Look,
}

#[derive(Debug)]
pub(super) struct Kernel {
    orders: Receiver<Order>,
    notes: Sender<Note>,
    sockets: Vec<Socket>,
    /// Connections that wait to be accepted; none for those that have gone.
    queue: VecDeque<Option<usize>>,
    listener: Option<(RawFd, u64, Interest)>,
    /// The token of the connection that was closed last, and whether it is to be reported once more: a duplicate of
    /// its descriptor in another process keeps it watched.
    ghost: Option<u64>,
    haunts: bool,
    /// Something to be watched in its turn, and the bell's descriptor.
    own: UnixStream,
    bell: RawFd,
    /// The time, which stands still but for orders.
    now: Instant,
    /// The most connections that are served at once.
    batch: usize,
    /// Time that is to pass in a wait that sleeps. MODEL: what a batch has sent is told after the wait, and limits count
    /// from there; so in batches no time passes in waits that only look, between the two.
    held: Duration,
}

impl Kernel {
    pub(super) fn new(orders: Receiver<Order>, notes: Sender<Note>, batch: usize) -> Self {
        let own = UnixStream::pair().expect("a pair of sockets").0;
        let sockets = Vec::new();
        let queue = VecDeque::new();
        Self {
            orders,
            notes,
            sockets,
            queue,
            listener: None,
            ghost: None,
            haunts: false,
            own,
            bell: -1,
            now: Instant::now(),
            batch,
            held: Duration::ZERO,
        }
    }

    fn note(&self, notes: impl IntoIterator<Item = Note>) {
        for note in notes {
            self.notes.send(note).expect("the notes are read later");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Connect(id) => {
                assert_eq!(id, self.sockets.len(), "connections are numbered in order");
                self.sockets.push(Socket::new(id));
                self.queue.push_back(Some(id));
            }
            Order::Dial(id, outcome) => {
                assert_eq!(id, self.sockets.len(), "connections are numbered in order");
                self.sockets.push(Socket::dialled(id, outcome));
            }
            Order::Vanish => self.queue.push_back(None),
            Order::Play(_, Op::Spurious { bits, .. }) if bits % 4 == 3 => self.haunts = true,
            Order::Play(id, op) => {
                let notes = self.sockets[id].play(op);
                self.note(notes);
            }
            Order::Settle => {
                let notes: Vec<Note> = self.sockets.iter_mut().flat_map(Socket::settle).collect();
                self.note(notes);
            }
            Order::Pass(length) => self.held += length,
            Order::Look => {}
        }
    }

    fn pass(&mut self) {
        let length = std::mem::take(&mut self.held);
        if length > Duration::ZERO {
            self.now += length;
            let nanoseconds = u64::try_from(length.as_nanos()).expect("a short time");
            self.note([Note::Passed(nanoseconds)]);
        }
    }

    fn look(&mut self) {
        for index in 0..self.sockets.len() {
            let gone = self.sockets[index].look();
            if !gone.is_empty() {
                self.ghost = Some(self.sockets[index].token);
                self.note(gone);
            }
        }
    }

    /// The connection of a descriptor. Of two with the same number the younger is meant: the older is closed.
    fn socket(&mut self, fd: BorrowedFd<'_>) -> &mut Socket {
        let fd = fd.as_raw_fd();
        let found = self.sockets.iter_mut().rev().find(|socket| socket.has(fd));
        found.expect("a call on a descriptor that the kernel does not know")
    }

    /// Answers a call on a connection, and notes what it did.
    fn answer(
        &mut self,
        fd: BorrowedFd<'_>,
        call: impl FnOnce(&mut Socket) -> io::Result<(usize, Vec<Note>)>,
    ) -> io::Result<usize> {
        let socket = self.socket(fd);
        let was_dead = socket.is_dead();
        let result = call(socket);
        let broke = (socket.is_dead() && !was_dead).then(|| Note::Broke(socket.id()));
        self.note(broke);
        result.map(|(n, notes)| {
            self.note(notes);
            n
        })
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

impl linkpoll::driver::epoll::Kernel for Kernel {
    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: i32) -> io::Result<usize> {
        self.note([Note::Sleeps(u64::try_from(timeout).ok())]);
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
            if self.batch == 1 || timeout != 0 {
                self.pass();
            }
        }
        self.look();
        ready.clear();
        if let Some((_, token, interest)) = self.listener
            && interest.receive
            && !self.queue.is_empty()
        {
            ready.push(Ready::new(token, Readiness::RECEIVE));
        }
        if std::mem::take(&mut self.haunts)
            && let Some(token) = self.ghost
        {
            ready.push(Ready::new(token, Readiness::HANGUP.and(Readiness::ERROR)));
        }
        let room = ready.capacity() - ready.len();
        let reports = self.sockets.iter_mut().filter_map(|socket| {
            let readiness = socket.report()?;
            Some(Ready::new(socket.token, readiness))
        });
        ready.extend(reports.take(room));
        Ok(ready.len())
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let raw = fd.as_raw_fd();
        if token == BELL {
            self.bell = raw;
        } else if self.listener.is_none() {
            self.listener = Some((raw, token, interest));
        } else {
            self.look();
            self.socket(fd).watch(token, interest);
        }
        Ok(())
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        match &mut self.listener {
            Some(listener) if listener.0 == fd.as_raw_fd() && listener.1 == token => listener.2 = interest,
            _ => self.socket(fd).watch(token, interest),
        }
        Ok(())
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.socket(fd).interest = None;
        Ok(())
    }

    fn receive(&mut self, fd: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
        self.answer(fd, |socket| socket.receive(first, second))
    }

    fn send(&mut self, fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.answer(fd, |socket| socket.send(pieces))
    }

    fn accept(&mut self, _fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        // A descriptor that was just closed may get the same number.
        self.look();
        match self.queue.pop_front() {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(None) => Err(io::Error::from_raw_os_error(ECONNABORTED)),
            Some(Some(id)) => {
                let (fd, note) = self.sockets[id].accept()?;
                self.note([note]);
                Ok((fd, address_of(id)))
            }
        }
    }

    fn connect(&mut self, address: &Address, _local: Option<SocketAddr>) -> io::Result<(OwnedFd, bool)> {
        self.look();
        let (result, notes) = self.sockets[id_of(address)].connect();
        self.note(notes);
        result
    }

    fn connect_result(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let note = self.socket(fd).connect_result()?;
        self.note([note]);
        Ok(())
    }

    fn shutdown_send(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let note = self.socket(fd).shut()?;
        self.note([note]);
        Ok(())
    }

    fn batch(&self) -> usize {
        self.batch
    }
}
