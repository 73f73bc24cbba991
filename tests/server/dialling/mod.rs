//! Connections that are dialled and adopted, over real sockets.

mod adopting;
mod giving_up;
mod proxying;

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{CloseReason, Handle};
use linkpoll::net::{Address, DialError, DialOptions, Dialer, Dialling};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{PATIENCE, addresses, any_port, echo, path, until};
use crate::drivers::{Loops, Server};

/// Tells a test what it receives, and its end.
struct Caller(Sender<Heard>);

#[derive(Debug)]
enum Heard {
    Bytes(Vec<u8>),
    Closed(CloseReason),
}

impl Handler for Caller {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        let bytes = io.input().next(n).expect("all of it is there").to_vec();
        drop(self.0.send(Heard::Bytes(bytes)));
        Flow::Continue
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        drop(self.0.send(Heard::Closed(why)));
    }
}

fn caller() -> (impl FnOnce(&Peer) -> Caller + Send + 'static, Receiver<Heard>) {
    let (tell, heard) = channel();
    (move |_: &Peer| Caller(tell), heard)
}

/// Gives away what it is told.
fn mute(_: &Peer) -> Caller {
    Caller(channel().0)
}

fn loops(n: usize) -> Loops {
    Loops::builder().loops(n).start().expect("loops")
}

fn chain(bytes: &[u8]) -> Chain {
    Chain::from(Segment::copy_of(bytes))
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short message");
    [&length.to_be_bytes(), payload].concat()
}

/// Whether a message comes back through a connection of the library.
fn echoes(handle: &Handle, heard: &Receiver<Heard>, payload: &[u8]) -> bool {
    let message = framed(payload);
    handle.send(chain(&message)).wait().expect("it is sent");
    let mut bytes = Vec::new();
    while bytes.len() < message.len() {
        match heard.recv_timeout(PATIENCE).expect("a reply") {
            Heard::Bytes(more) => bytes.extend(more),
            Heard::Closed(why) => panic!("{why}"),
        }
    }
    bytes == message
}

fn closed(heard: &Receiver<Heard>) -> CloseReason {
    heard
        .iter()
        .find_map(|it| if let Heard::Closed(why) = it { Some(why) } else { None })
        .expect("it is closed")
}

/// An address at which nobody listens, and whose port nobody else is given meanwhile.
fn refusing() -> (socket::Bound, Address) {
    socket::bound()
}

/// A listener whose queue is full, so that its system answers no further connections, and those that fill it.
fn silent() -> (socket::Bound, Address, Vec<TcpStream>) {
    let (listener, address) = socket::bound();
    listener.listen(1);
    let Address::Tcp(at) = address else { unreachable!("it is a TCP socket") };
    let limit = Duration::from_millis(100);
    let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&at, limit).ok()).take(16).collect();
    (listener, address, waiting)
}

mod socket {
    use std::os::fd::{AsRawFd as _, OwnedFd};

    use linkpoll::net::Address;
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
    };

    pub(super) struct Bound(OwnedFd);

    pub(super) fn bound() -> (Bound, Address) {
        let fd =
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("a port");
        let bound: SockaddrIn = getsockname(fd.as_raw_fd()).expect("an address");
        (Bound(fd), Address::Tcp(([127, 0, 0, 1], bound.port()).into()))
    }

    impl Bound {
        pub(super) fn listen(&self, backlog: i32) {
            listen(&self.0, Backlog::new(backlog).expect("a short queue")).expect("a listener");
        }
    }
}

/// A connection to either family can be dialled, from loops of its own and from a server's, blocking and as a future
///
#[test]
fn a_dialled_connection_carries_bytes() {
    for address in addresses("dialled") {
        let server = Server::builder().loops(2).bind(&address, echo).expect("a server");
        let own = loops(2);
        for dialer in [own.dialer(), server.dialer(), own.dialer().on(1)] {
            for round in 0..4 {
                let (make, heard) = caller();
                let dialling = dialer.dial([server.address().clone()], make);
                let handle = if round % 2 == 0 { dialling.wait() } else { block_on(dialling) };
                let handle = handle.expect("somebody listens");
                assert!(handle.is_active() && echoes(&handle, &heard, b"hello"));
                handle.close();
                assert!(matches!(closed(&heard), CloseReason::Finished));
                until("the handle knows", || !handle.is_active());
            }
        }
    }
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake};
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Addresses are tried in their order until one connects; those that fail are told, with their errors.
#[test]
fn addresses_are_tried_in_order_until_one_connects() {
    let own = loops(1);
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let ((_kept, refusing), missing) = (refusing(), Address::Unix(path("missing")));
    let (make, heard) = caller();
    let all = [refusing.clone(), missing.clone(), server.address().clone(), refusing.clone()];
    let handle = own.dialer().dial(all, make).wait().expect("the third is there");
    assert!(echoes(&handle, &heard, b"third"));

    let all = [missing.clone(), refusing.clone(), missing.clone()];
    let error = own.dialer().dial(all.clone(), mute).wait().expect_err("nobody listens");
    let DialError::Failed(attempts) = &error else { panic!("{error:?}") };
    let tried: Vec<_> = attempts.iter().map(|it| (it.address.clone(), it.error.kind())).collect();
    let kinds = [ErrorKind::NotFound, ErrorKind::ConnectionRefused, ErrorKind::NotFound];
    assert_eq!(tried, all.into_iter().zip(kinds).collect::<Vec<_>>());
    assert!(error.to_string().contains(&refusing.to_string()), "{error}");
    assert!(matches!(own.dialer().dial([], mute).wait(), Err(DialError::NoAddress)));
    let named = Address::resolve_all("localhost:1").expect("every system has one");
    assert!(!named.is_empty() && named.iter().all(|it| matches!(it, Address::Tcp(it) if it.port() == 1)));
}

/// A connection comes from the local address that was asked for. One that cannot be had is the address's error.
#[test]
fn a_local_address_can_be_chosen() {
    let own = loops(1);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = Address::Tcp(listener.local_addr().expect("an address"));
    let from = |local: &str| {
        let local: SocketAddr = local.parse().expect("an address");
        own.dialer().options(DialOptions { local: Some(local), ..DialOptions::default() })
    };
    let _handle = from("127.0.0.7:0").dial([address.clone()], mute).wait().expect("somebody listens");
    let (_stream, peer) = listener.accept().expect("a connection");
    assert_eq!(peer.ip().to_string(), "127.0.0.7");
    for (local, address) in [
        ("192.0.2.1:0", address.clone()),
        ("[::1]:0", address),
        ("127.0.0.7:0", Address::Unix(path("no-local-address"))),
    ] {
        let error = from(local).dial([address], mute).wait().expect_err("not from there");
        assert!(matches!(&error, DialError::Failed(attempts) if attempts.len() == 1), "{error:?}");
    }
}

/// A closure that panics instead of making a handler costs its own connection.
#[test]
fn a_handler_that_cannot_be_made_is_an_error() {
    let own = loops(1);
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let panics = |_: &Peer| -> Caller { std::panic::resume_unwind(Box::new("on purpose")) };
    let error = own.dialer().dial([server.address().clone()], panics).wait().expect_err("no handler");
    assert!(matches!(error, DialError::Panicked), "{error:?}");
    until("the connection is closed", || own.usage()[0].metrics.connections() == 0);
    let (make, heard) = caller();
    let handle = own.dialer().dial([server.address().clone()], make).wait().expect("somebody listens");
    assert!(echoes(&handle, &heard, b"unharmed"));
}

/// A loop with its most connections dials no more, until one is gone.
#[test]
fn a_full_loop_dials_no_more() {
    let options = LoopOptions { max_connections: 1, ..LoopOptions::default() };
    let own = Loops::builder().loops(1).options(options).start().expect("loops");
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let dial = |dialer: &Dialer| dialer.dial([server.address().clone()], mute).wait();
    let handle = dial(&own.dialer()).expect("the first");
    assert!(matches!(dial(&own.dialer()), Err(DialError::Full)));
    handle.abort();
    until("it is closed", || own.usage()[0].metrics.connections() == 0);
    // All of them begin while there is room for one.
    let dials: Vec<_> = (0..8).map(|_| own.dialer().dial([server.address().clone()], mute)).collect();
    let answers: Vec<_> = dials.into_iter().map(Dialling::wait).collect();
    assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|it| matches!(it, Ok(_) | Err(DialError::Full))), "{answers:?}");
    assert_eq!(own.usage()[0].metrics.connections(), 1);
}

/// A Unix listener whose queue is full is tried again until it has room, or the time is over.
#[test]
fn a_unix_listener_without_room_is_tried_again() {
    let path = path("full-queue");
    let listener = UnixListener::bind(&path).expect("a path");
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("a queue"))
        .expect("a shorter queue");
    let own = loops(1);
    let address = Address::Unix(path);
    let hurried = DialOptions { timeout: Some(Duration::from_millis(100)), ..DialOptions::default() };
    let mut waiting = Vec::new();
    let error = loop {
        match own.dialer().options(hurried).dial([address.clone()], mute).wait() {
            Ok(handle) => waiting.push(handle),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100, "the queue is never full");
    };
    assert!(matches!(&error, DialError::TimedOut(before) if before.is_empty()), "{error:?}");
    let (make, heard) = caller();
    let mut patient = own.dialer().dial([address], make);
    assert!(patient.wait_until(Instant::now() + Duration::from_millis(30)).is_none());
    let mut accepted: Vec<_> =
        (0..waiting.len()).map(|_| listener.accept().expect("a connection").0).collect();
    let handle = patient.wait().expect("there is room");
    accepted.push(listener.accept().expect("a connection").0);
    let last = accepted.last_mut().expect("it was just put there");
    last.write_all(b"at last").expect("it is connected");
    assert!(matches!(heard.recv_timeout(PATIENCE), Ok(Heard::Bytes(bytes)) if bytes == b"at last"));
    handle.abort();
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("a bomb"));
    }
}

/// What was to make a handler is dropped on the loop when nothing comes of its connection. A panic there is answered, and
/// costs no other connection.
#[test]
fn what_would_have_made_a_handler_may_panic_when_it_is_dropped() {
    let loops = loops(1);
    let dialer = loops.dialer();
    let make = || {
        let bomb = Bomb;
        move |peer: &Peer| {
            std::mem::forget(bomb);
            mute(peer)
        }
    };
    // Nobody listens there any more.
    let refused = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let failed = dialer.dial([Address::from(refused)], make()).wait();
    assert!(matches!(failed, Err(DialError::Failed(_))), "{failed:?}");
    let nowhere = dialer.dial([], make()).wait();
    assert!(matches!(nowhere, Err(DialError::NoAddress)), "{nowhere:?}");
    drop(dialer.dial([Address::from(refused)], make()));
    let peer = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = peer.local_addr().expect("its address");
    assert!(dialer.dial([Address::from(address)], mute).wait().is_ok(), "the loop goes on");
}
