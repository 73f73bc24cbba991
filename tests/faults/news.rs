//! Faults of reading a socket's error queue.
#![expect(unsafe_code, reason = "memory is lent by a call that takes its address")]

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Epoll, EpollOptions};
use linkpoll::driver::{Driver as _, Event, Key};
use linkpoll::faults::{Fault, Plan, Site, executed};
use linkpoll::net::Address;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

static LENT: [u8; 4] = *b"lent";

/// A socket that has news of memory that its owner before has lent, and its peer.
fn lent_from() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("a socket");
    let (near, _) = listener.accept().expect("a connection");
    near.set_nonblocking(true).expect("an option of sockets");
    let one: libc::c_int = 1;
    // SAFETY: the pointer is to an integer that outlives the call, and 4 is its size.
    let set = unsafe {
        let value = (&raw const one).cast();
        libc::setsockopt(near.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, value, 4)
    };
    assert_eq!(set, 0, "TCP can lend");
    // SAFETY: the bytes are static, and never change.
    let sent = unsafe { libc::send(near.as_raw_fd(), LENT.as_ptr().cast(), LENT.len(), libc::MSG_ZEROCOPY) };
    assert_eq!(sent, 4);
    peer.read_exact(&mut [0; 4]).expect("what was sent");
    let mut news = [PollFd::new(near.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut news, PollTimeout::from(20_000_u16)), Ok(1), "news of the memory");
    (peer, near.into())
}

/// News that cannot be read are read later, and the connection is served meanwhile.
pub(crate) fn check(site: Site, fault: Fault) -> String {
    let (mut peer, fd) = lent_from();
    let mut driver = Epoll::new(EpollOptions::default()).expect("an epoll instance");
    let key = Key::new(0, 1);
    let socket = Epoll::<linkpoll::driver::epoll::Linux>::from_fd(fd, Address::Unix(Default::default()));
    driver.attach(key, socket.expect("a socket")).expect("it can be watched");
    let happened = executed(site, fault);
    let injected = Plan::new().fail(site, fault, 0, 1).inject();
    std::io::Write::write_all(&mut peer, b"bytes").expect("there is room");
    let limit = Instant::now() + Duration::from_secs(20);
    let mut received = 0;
    while received < 5 {
        assert!(Instant::now() < limit, "the bytes do not arrive");
        driver.wait(Some(Duration::from_millis(50))).expect("it can wait");
        while let Some(event) = driver.next() {
            match event {
                Event::Received(_, segment) => received += segment.len(),
                other => panic!("{other:?}"),
            }
        }
    }
    drop(injected);
    assert_eq!(executed(site, fault), happened + 1, "it happens once");
    let short = (0..4).filter(|_| {
        let started = Instant::now();
        driver.wait(Some(Duration::from_millis(40))).expect("it can wait");
        let told = driver.next();
        assert!(told.is_none(), "{told:?}");
        started.elapsed() < Duration::from_millis(20)
    });
    assert!(short.count() <= 1, "news that were read are reported");
    "the news are read later".to_owned()
}
