//! The other end of a session: a thread that has it, does what it is told, and sleeps like any side of a session.
//!
//! It is a peer like a socket of the system is one. What is written is taken at once, up to [`BUFFER`] bytes that the ring
//! has no room for; what nobody asks for is not read; a close comes behind what was written.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use linkpoll_conformance::Peer;
use linkpoll_shm::session::{Heard, Parked, Received, Room, Session, SessionError};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

/// Bytes that a writer need not wait for.
const BUFFER: usize = 256 << 10;
/// Bytes of room to receive into.
const ROOM: usize = 512 << 10;

/// What the thread is told; each is answered when it is done, as far as it can be done now.
#[derive(Debug)]
pub(crate) enum Order {
    Write(Vec<u8>, Sender<()>),
    Offer(Vec<u8>, Sender<usize>),
    Read(usize, Sender<Option<Vec<u8>>>),
    End(Sender<()>),
    Close(Sender<()>),
    Reset(Sender<()>),
}

/// The other end of a session.
#[derive(Debug)]
pub(crate) struct ShmPeer {
    orders: Sender<Order>,
    poke: EventFd,
    patience: Duration,
}

impl ShmPeer {
    pub(crate) fn new(session: Session, patience: Duration) -> Self {
        let (orders, receiver) = channel();
        let poke = EventFd::from_value(0).expect("a descriptor");
        let sleep = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("a descriptor");
        let watch = |fd, flags| {
            let event = EpollEvent::new(flags | EpollFlags::EPOLLET, 0);
            sleep.add(fd, event).expect("a descriptor can be watched");
        };
        let (socket, bell) = session.watched();
        watch(socket, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
        bell.into_iter().for_each(|bell| watch(bell, EpollFlags::EPOLLIN));
        watch(poke.as_fd(), EpollFlags::EPOLLIN);
        let side = Side {
            session,
            orders: receiver,
            sleep,
            unsent: VecDeque::new(),
            unread: VecDeque::new(),
            reading: None,
            writing: None,
            ending: false,
            leaving: false,
            told: Vec::new(),
            room: vec![0; ROOM],
        };
        thread::spawn(|| side.run());
        Self { orders, poke, patience }
    }

    /// Gives an order, and waits until it is carried out; `None` when the session is over before that.
    pub(crate) fn order<A>(&self, order: impl FnOnce(Sender<A>) -> Order) -> Option<A> {
        let (answer, answered) = channel();
        self.orders.send(order(answer)).ok()?;
        self.poke.write(1).expect("a counter far from full");
        answered.recv_timeout(self.patience).ok()
    }
}

impl Peer for ShmPeer {
    fn write(&mut self, bytes: &[u8]) {
        self.order(|answer| Order::Write(bytes.to_vec(), answer)).expect("the peer can write");
    }

    fn offer(&mut self, bytes: &[u8]) -> usize {
        self.order(|answer| Order::Offer(bytes.to_vec(), answer)).expect("the peer can write")
    }

    fn read_some(&mut self, n: usize) -> Option<Vec<u8>> {
        self.order(|answer| Order::Read(n, answer)).expect("the peer can read")
    }

    fn end(&mut self) {
        self.order(Order::End).expect("the peer can end its direction");
    }

    fn reset(self) {
        self.order(Order::Reset);
    }
}

impl Drop for ShmPeer {
    fn drop(&mut self) {
        // Nobody is there after a reset, or when the session is over.
        self.order(Order::Close);
    }
}

/// What the thread has.
struct Side {
    session: Session,
    orders: Receiver<Order>,
    sleep: Epoll,
    unsent: VecDeque<u8>,
    unread: VecDeque<u8>,
    reading: Option<(usize, Sender<Option<Vec<u8>>>)>,
    writing: Option<Sender<()>>,
    /// Our direction is to be ended behind what is unsent; and then the session.
    ending: bool,
    leaving: bool,
    /// Those who wait for no more than a try.
    told: Vec<Sender<()>>,
    room: Vec<u8>,
}

impl Side {
    /// Works until the session is over. Whoever waits for an answer then gets none.
    fn run(mut self) {
        loop {
            match self.work() {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Does what can be done, and sleeps if that is nothing. Answers whether to go on.
    fn work(&mut self) -> Result<bool, SessionError> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Reset(answer)) => {
                    // The session goes first, with its thread.
                    self.told.push(answer);
                    return Ok(false);
                }
                Ok(order) => self.take(order)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    (self.ending, self.leaving) = (true, true);
                    break;
                }
            }
        }
        let heard = self.session.listen()?;
        while !self.unsent.is_empty() {
            let sent = self.session.send(&mut self.unsent)?;
            if sent == 0 {
                break;
            }
        }
        if self.ending && self.unsent.is_empty() && !self.session.has_ended() {
            self.session.end()?;
        }
        if self.unsent.len() <= BUFFER {
            self.writing.take().map(|answer| answer.send(()));
        }
        if self.leaving && self.unsent.is_empty() {
            return Ok(false);
        }
        let busy = self.read()? || heard == Heard::More;
        self.told.drain(..).for_each(|answer| {
            let _ = answer.send(());
        });
        let send = (!self.unsent.is_empty()).then_some(self.unsent.len());
        if !busy && self.session.park(self.reading.is_some(), send)? == Parked::Sleeping {
            // KERNEL: edges that came since the last sleep end this one at once (epoll(7)).
            let slept = self.sleep.wait(&mut [EpollEvent::empty(); 4], EpollTimeout::NONE);
            assert!(slept.is_ok_and(|heard| heard > 0) || slept == Err(Errno::EINTR), "{slept:?}");
        }
        Ok(true)
    }

    fn take(&mut self, order: Order) -> Result<(), SessionError> {
        match order {
            Order::Write(bytes, answer) => {
                self.unsent.extend(bytes);
                self.writing = Some(answer);
            }
            Order::Offer(bytes, answer) => {
                let mut taken = 0;
                if self.unsent.is_empty() {
                    taken = self.session.send(&mut &bytes[..])?;
                }
                let _ = answer.send(taken);
            }
            Order::Read(n, answer) => self.reading = Some((n, answer)),
            Order::End(answer) => {
                self.ending = true;
                self.told.push(answer);
            }
            Order::Close(answer) => {
                (self.ending, self.leaving) = (true, true);
                self.told.push(answer);
            }
            Order::Reset(_) => {}
        }
        Ok(())
    }

    /// Reads for who has asked. Answers whether there may be more to do.
    fn read(&mut self) -> Result<bool, SessionError> {
        let Some((n, answer)) = self.reading.take() else { return Ok(false) };
        let mut ended = false;
        if self.unread.is_empty() {
            let mut room = Room { first: &mut self.room, second: &mut [] };
            match self.session.receive(&mut room, n)? {
                Received::Nothing => {}
                Received::Copied(copied) => self.unread.extend(&self.room[..copied]),
                Received::Sealed(segment) => self.unread.extend(&segment[..]),
                Received::End => ended = true,
            }
        }
        if ended {
            let _ = answer.send(None);
        } else if self.unread.is_empty() {
            self.reading = Some((n, answer));
        } else {
            let n = n.min(self.unread.len());
            let _ = answer.send(Some(self.unread.drain(..n).collect()));
        }
        Ok(false)
    }
}
