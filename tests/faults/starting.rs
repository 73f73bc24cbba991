//! Faults while a server is set up: `bind` answers an error, and nothing is left of what was begun.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use linkpoll::faults::{Fault, Plan, Site, executed};
use linkpoll::net::{Accept, Address, Server};
use linkpoll::reactor::Placement;

use crate::bed::{actors, descriptors, loops};
use crate::client::{Client, payload, until};

/// Sets a server up, on two loops that share a port.
fn over_tcp(address: &Address) -> io::Result<Server> {
    Server::builder().loops(2).bind(address, actors(channel().0, channel().0))
}

/// Sets a server up where the file of another, which is gone, is in the way.
fn over_unix(address: &Address) -> io::Result<Server> {
    if let Address::Unix(path) = address {
        drop(std::fs::remove_file(path));
        drop(UnixListener::bind(path).expect("a path"));
    }
    let accept = Accept::OneLoop(Placement::RoundRobin);
    Server::builder().loops(2).accept(accept).bind(address, actors(channel().0, channel().0))
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("lp-faults-{}", std::process::id()))
}

fn free_port() -> Address {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    Address::Tcp(listener.local_addr().expect("an address"))
}

/// One fault at each of the site's calls in turn. Answers what has come of it, in words.
pub(crate) fn check(site: Site, fault: Fault) -> String {
    let is_file = matches!(site, Site::FileStatus | Site::FileProbe | Site::FileRemove);
    let (start, address): (fn(&Address) -> io::Result<Server>, Address) =
        if is_file { (over_unix, Address::Unix(path())) } else { (over_tcp, free_port()) };
    let counted = Plan::new().inject();
    let server = start(&address).expect("nothing is in the way");
    let calls = counted.calls(site);
    drop((server, counted));
    // It is asked for once more when the server is up: one that cannot tell its file leaves it behind, and the next
    // server replaces it.
    let calls = if site == Site::FileStatus { 1 } else { calls };
    assert!(calls > 0, "{site} plays no part in setting a server up");
    let before = descriptors();
    let mut errors = Vec::new();
    for nth in 0..calls {
        let happened = executed(site, fault);
        let injected = Plan::new().fail(site, fault, nth, 1).inject();
        let error = start(&address).map(drop).expect_err("bind fails");
        drop(injected);
        assert_eq!(executed(site, fault), happened + 1, "it happens once");
        let Fault::Errno(errno) = fault else { panic!("nothing is short here") };
        let expected = match site {
            // A file that nothing can be found out about is left in the way.
            Site::FileStatus | Site::FileProbe => nix::errno::Errno::EADDRINUSE,
            _ => errno,
        };
        assert_eq!(error.raw_os_error(), Some(expected as i32), "call {nth}");
        until("the loops end", || loops() == 0);
        assert_eq!(descriptors(), before, "descriptors that are left after call {nth}");
        if let Address::Tcp(address) = &address {
            assert!(TcpStream::connect(address).is_err(), "somebody listens after call {nth}");
        }
        errors.push(expected);
    }
    // Nothing stands in the way of the next one.
    let server = start(&address).expect("nothing is in the way");
    if !is_file {
        let mut client = Client::connect(server.address()).expect("somebody listens");
        client.echo(&payload(1, 1000)).expect("it is served");
    }
    format!("bind fails with {:?} ({calls} calls tried)", errors[0])
}
