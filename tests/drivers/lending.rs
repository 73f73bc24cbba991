//! A transport that prefers that many bytes are written into memory of its own.
#![expect(clippy::disallowed_types, reason = "what a test counts is no part of the library")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{AllocError, BlockPool, Chain, PoolOptions, SegmentWriter, Tail};
use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket};
use linkpoll::driver::{Both, BothSocket, Caps, Detached, Driver, Event, Key, Side, SystemCalls, Token};
use linkpoll::net::Address;
use linkpoll::reactor::{LoopOptions, Maker, Reactor};
use linkpoll::service::{
    Codec, Cut, Dispatch, Flow, Frame, Framed, Handler, HandlerError, Io, MakeHandler as _, Payload, Peer,
    Serve, Tagged, WorkPool,
};
use linkpoll::sync::{Arc, Bell};

/// Bytes that are many to this transport.
const MANY: usize = 4 << 10;

/// What has come to `send`, by where it lay, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// In memory that was given out for the same connection.
    own: usize,
    /// In memory that was given out for another one.
    foreign: usize,
    elsewhere: usize,
}

/// Epoll with memory for sending, each piece of which is for one connection.
struct Lending {
    inner: Epoll,
    memory: BlockPool,
    /// What was given out, by its first byte: for whom, and how much.
    given: BTreeMap<usize, (Key, usize)>,
    seen: Rc<RefCell<Seen>>,
}

impl Lending {
    /// A driver with so much memory for sending.
    fn new(limit: usize, seen: &Rc<RefCell<Seen>>) -> Self {
        let inner = Epoll::new(EpollOptions::default()).expect("an epoll instance");
        let memory = BlockPool::new(PoolOptions { limit, bell: None });
        Self { inner, memory, given: BTreeMap::new(), seen: Rc::clone(seen) }
    }
}

impl AsFd for Lending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Driver for Lending {
    type Socket = Socket;

    fn caps(&self) -> Caps {
        Caps { send_memory_from: Some(MANY), ..self.inner.caps() }
    }

    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError> {
        assert!(bytes >= MANY, "{bytes} bytes are not many");
        let mut tail = self.memory.allocate(bytes)?;
        let (start, len) = (tail.spare().as_ptr().addr(), tail.len());
        // What is left over from the former user of this memory never reaches the next one's peer.
        tail.spare().fill(0xee);
        self.given.insert(start, (key, len));
        Ok(tail)
    }

    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize {
        let mut seen = self.seen.borrow_mut();
        for segment in chain.segments() {
            let at = segment.as_ptr().addr();
            match self.given.range(..=at).next_back() {
                Some((start, (owner, len))) if at < start + len => {
                    *(if *owner == key { &mut seen.own } else { &mut seen.foreign }) += segment.len();
                }
                _ => seen.elsewhere += segment.len(),
            }
        }
        drop(seen);
        self.inner.send(key, chain, released)
    }

    fn pool(&self) -> &BlockPool {
        self.inner.pool()
    }

    fn bell(&self) -> Box<dyn Bell> {
        self.inner.bell()
    }

    fn system_calls(&self) -> Arc<SystemCalls> {
        self.inner.system_calls()
    }

    fn peer(socket: &Socket) -> Address {
        <Epoll as Driver>::peer(socket)
    }

    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address> {
        self.inner.listen(key, address, share)
    }

    fn from_fd(fd: OwnedFd, peer: Address) -> Option<Socket> {
        <Epoll as Driver>::from_fd(fd, peer)
    }

    fn into_fd(socket: Socket) -> Option<OwnedFd> {
        <Epoll as Driver>::into_fd(socket)
    }

    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()> {
        self.inner.connect(key, address, local)
    }

    fn attach(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        self.inner.attach(key, socket)
    }

    fn detach(&mut self, key: Key) -> Option<Detached<Socket>> {
        self.inner.detach(key)
    }

    fn receive(&mut self, key: Key, on: bool) {
        self.inner.receive(key, on);
    }

    fn want(&mut self, key: Key, bytes: usize) {
        self.inner.want(key, bytes);
    }

    fn shutdown(&mut self, key: Key) {
        self.inner.shutdown(key);
    }

    fn close(&mut self, key: Key) {
        self.inner.close(key);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.wait(timeout)
    }

    fn arm(&mut self) -> Option<Duration> {
        self.inner.arm()
    }

    fn next(&mut self) -> Option<Event<Socket>> {
        self.inner.next()
    }
}

fn socket(stream: UnixStream) -> Socket {
    stream.set_nonblocking(true).expect("an option of sockets");
    Socket { fd: OwnedFd::from(stream), peer: Box::new(Address::Unix(PathBuf::new())) }
}

/// Sends `requests` on each of several connections, reads as many bytes as they are answered with, and says where those
/// lay when they were sent.
fn exchange<D: Driver>(
    driver: D,
    seen: &Rc<RefCell<Seen>>,
    make: impl Fn(&Peer) -> Box<dyn Handler> + Send + 'static,
    attached: impl Fn(Socket) -> D::Socket,
    requests: &'static [u8],
    answered: usize,
) -> Seen {
    const PEERS: usize = 3;
    let maker: Maker = Box::new(make);
    let mut reactor = Reactor::new(driver, LoopOptions::default(), Default::default(), maker);
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let (mut ours, theirs) = UnixStream::pair().expect("two sockets");
            reactor.attach(attached(socket(theirs)));
            thread::spawn(move || {
                ours.write_all(requests).expect("it is connected");
                let mut bytes = vec![0; answered];
                ours.read_exact(&mut bytes).expect("it is answered");
                bytes
            })
        })
        .collect();
    let metrics = reactor.handle().metrics;
    while metrics.snapshot().closed < PEERS as u64 {
        reactor.turn().expect("the driver waits");
    }
    for peer in peers {
        let bytes = peer.join().expect("it is answered");
        assert!(!bytes.contains(&0xee), "bytes that nobody has written");
    }
    let seen = *seen.borrow();
    assert_eq!(seen.own + seen.foreign + seen.elsewhere, PEERS * answered);
    assert_eq!(seen.foreign, 0, "memory of one connection is sent on another");
    seen
}

const LARGE: usize = 64 << 10;

/// Answers each byte with a large reservation between two small writes.
struct Reserving;

impl Handler for Reserving {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let (input, output) = io.split();
        for _ in 0..input.len() {
            output.write(b"head").expect("there is memory");
            let mut reserved = output.reserve(LARGE).expect("there is memory");
            reserved.zeroed(LARGE).fill(b'x');
            reserved.commit(LARGE).expect("all of it is written");
            output.write(b"tail").expect("there is memory");
        }
        *input = Chain::new();
        Flow::Continue
    }
}

/// What a handler reserves lies in memory of its connection when it is sent, and what it writes around it does not ask
/// for more.
#[test]
fn a_large_reservation_lies_in_memory_of_the_transport() {
    let seen = Rc::default();
    let driver = Lending::new(64 << 20, &seen);
    let seen = exchange(driver, &seen, |_| Box::new(Reserving), |socket| socket, b"..", 2 * (LARGE + 8));
    assert!(seen.own >= 3 * 2 * LARGE && seen.elsewhere <= 3 * 2 * 8, "{seen:?}");
}

/// The same on the second side of two drivers, where the keys of both are routed.
#[test]
fn memory_follows_the_side() {
    let seen = Rc::default();
    let first = Epoll::new(EpollOptions::default()).expect("an epoll instance");
    let driver = Both::new(first, Lending::new(64 << 20, &seen), Side::by_family).expect("two drivers");
    let seen = exchange(driver, &seen, |_| Box::new(Reserving), BothSocket::Second, b"..", 2 * (LARGE + 8));
    assert!(seen.own >= 3 * 2 * LARGE, "{seen:?}");
}

/// Where the transport has not enough memory, the pool's is used, and every answer arrives.
#[test]
fn without_memory_of_the_transport_the_pool_is_used() {
    let seen = Rc::default();
    let driver = Lending::new(0, &seen);
    let seen = exchange(driver, &seen, |_| Box::new(Reserving), |socket| socket, b"..", 2 * (LARGE + 8));
    assert_eq!(seen.own, 0);
}

/// Small answers never lie there.
#[test]
fn small_answers_stay_in_the_pool() {
    fn echo(payload: Payload<'_>, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        payload.pieces().try_for_each(|piece| to.write(piece))?;
        Ok(())
    }
    let seen = Rc::default();
    let driver = Lending::new(64 << 20, &seen);
    let make = |_: &Peer| Box::new(Framed::new(Frame::default(), echo)) as _;
    let seen = exchange(driver, &seen, make, |socket| socket, b"\0\0\0\x02hi\0\0\0\0\0\0\0\x01!", 15);
    assert_eq!((seen.own, seen.elsewhere), (0, 45));
}

/// A framed message whose payload is written at once, by a function of borrowed bytes.
#[test]
fn a_large_write_lies_in_memory_of_the_transport() {
    fn blow_up(_: Payload<'_>, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(to.write(&[b'y'; 2 * LARGE])?)
    }
    let seen = Rc::default();
    let driver = Lending::new(64 << 20, &seen);
    let make = |_: &Peer| Box::new(Framed::new(Frame::default(), blow_up)) as _;
    let seen = exchange(driver, &seen, make, |socket| socket, b"\0\0\0\x02hi", 4 + 2 * LARGE);
    assert!(seen.own >= 3 * 2 * LARGE, "{seen:?}");
}

/// A codec whose answers are as long as it is told, and are encoded when they are put.
#[derive(Debug)]
struct Lengths;

impl Codec for Lengths {
    type In = usize;
    type Out = usize;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<Tagged<Self>>, HandlerError> {
        Ok(Cut::Message(((), usize::from(input.next(1)?[0]) << 10)))
    }

    fn put((): (), out: usize, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        let mut reserved = to.reserve(out)?;
        reserved.zeroed(out).fill(b'z');
        reserved.commit(out)?;
        Ok(())
    }
}

/// Answers of a service, encoded on the loop, wherever the calls are made.
#[test]
fn answers_of_a_service_lie_in_memory_of_the_transport() {
    let pool = WorkPool::new(2).expect("threads");
    for dispatch in [Dispatch::Inline, Dispatch::Pool(pool.clone())] {
        let seen = Rc::default();
        let driver = Lending::new(64 << 20, &seen);
        let service =
            Serve::function(|| Lengths, |message: usize, reply| reply.send(message)).dispatch(dispatch);
        let make = move |peer: &Peer| Box::new(service.make(peer)) as _;
        let seen = exchange(driver, &seen, make, |socket| socket, &[64, 1, 16, 2], 83 << 10);
        assert!(seen.own >= 3 * (80 << 10), "{seen:?}");
        assert!(seen.elsewhere <= 3 * (3 << 10), "{seen:?}");
    }
}
