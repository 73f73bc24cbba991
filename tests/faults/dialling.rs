//! Faults while a connection is being established, seen at the seam of the driver.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use linkpoll::driver::epoll::{Epoll, EpollOptions};
use linkpoll::driver::{Driver as _, Event, Key};
use linkpoll::faults::{Effect, Fault, Plan, Site, executed};
use linkpoll::net::{Address, Loops};
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::bed::descriptors;

/// One fault of a call that connects. Answers what has come of it, in words.
pub(crate) fn check(site: Site, fault: Fault, effect: Effect) -> String {
    let before = descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = Address::Tcp(listener.local_addr().expect("an address"));
    let mut driver = Epoll::new(EpollOptions::default()).expect("a driver");
    let Fault::Errno(errno) = fault else { panic!("nothing is short here") };

    let key = Key::new(0, 1);
    let happened = executed(site, fault);
    let injected = Plan::new().fail(site, fault, 0, 1).inject();
    let outcome = match driver.connect(key, &address, None) {
        Err(error) => {
            assert_eq!((effect, error.raw_os_error()), (Effect::SetUp, Some(errno as i32)));
            format!("connect fails with {errno:?}")
        }
        Ok(()) => match event(&mut driver) {
            Event::Connected(_) => {
                assert_eq!(effect, Effect::Nothing);
                "the connection is established".to_owned()
            }
            Event::Error(_, error) => {
                assert_eq!((effect, error.raw_os_error()), (Effect::Connection, Some(errno as i32)));
                format!("the connection ends: {error}")
            }
            other => panic!("{other:?}"),
        },
    };
    drop(injected);
    assert_eq!(executed(site, fault), happened + 1, "it happens once");
    driver.close(key);

    // The next one is established.
    driver.connect(Key::new(1, 1), &address, None).expect("nothing is in the way");
    while !matches!(event(&mut driver), Event::Connected(key) if key == Key::new(1, 1)) {}
    drop((driver, listener));
    assert_eq!(descriptors(), before, "descriptors that are left");
    outcome
}

/// One fault at each of the site's calls when a connected socket is adopted. Answers what has come of it, in words.
pub(crate) fn check_adopting(site: Site, fault: Fault) -> String {
    let before = descriptors();
    let loops = Loops::builder().loops(1).start().expect("loops");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let Fault::Errno(errno) = fault else { panic!("nothing is short here") };
    let calls = if site == Site::FileFlags { 2 } else { 1 };
    for nth in 0..calls {
        let happened = executed(site, fault);
        let socket = TcpStream::connect(address).expect("somebody listens");
        let (mut peer, _) = listener.accept().expect("it has come");
        let injected = Plan::new().fail(site, fault, nth, 1).inject();
        let error = loops.dialer().adopt(socket, |_: &Peer| Silent).map(drop).expect_err("it is refused");
        drop(injected);
        assert_eq!(error.raw_os_error(), Some(errno as i32));
        assert_eq!(executed(site, fault), happened + 1, "it happens once");
        assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0, "the socket is closed");
    }
    let socket = TcpStream::connect(address).expect("somebody listens");
    loops.dialer().adopt(socket, |_: &Peer| Silent).expect("a socket").wait().expect("it is taken in");
    loops.stopper().stop_now();
    loops.join().expect("an orderly end");
    drop(listener);
    assert_eq!(descriptors(), before, "descriptors that are left");
    format!("adopting fails with {errno:?}, and the socket is closed")
}

struct Silent;

impl Handler for Silent {
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }
}

fn event(driver: &mut Epoll) -> Event<linkpoll::driver::epoll::Socket> {
    loop {
        match driver.next() {
            Some(event) => return event,
            None => driver.wait(Some(Duration::from_secs(60))).expect("a wait"),
        }
    }
}
