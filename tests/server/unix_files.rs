//! The files of Unix sockets: made, replaced, left alone, removed.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use linkpoll::net::Address;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{Client, PATIENCE, echo, path, until};
use crate::drivers::Server;

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The file is there while the server is, and is removed when it ends.
#[test]
fn the_file_goes_with_its_server() {
    let path = path("goes");
    let server = Server::builder().bind(&Address::Unix(path.clone()), echo).expect("a server");
    assert!(is_socket(&path));
    assert!(Client::connect(server.address()).echoes(b"there"));
    drop(server);
    assert!(!path.exists());
}

/// Others are let in by the permissions of the file. It is removed all the same, where the file system says when a file was
/// made.
#[test]
fn a_file_whose_permissions_were_changed_goes_with_its_server() {
    let path = path("changed");
    let server = Server::builder().bind(&Address::Unix(path.clone()), echo).expect("a server");
    let known = fs::metadata(&path).expect("it is there").created().is_ok();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("it is ours");
    assert!(Client::connect(server.address()).echoes(b"there"));
    drop(server);
    assert_eq!(path.exists(), !known);
    drop(fs::remove_file(&path));
}

/// The file of a server that is gone is replaced.
#[test]
fn a_stale_file_is_replaced() {
    let path = path("stale");
    drop(UnixListener::bind(&path).expect("a path"));
    assert!(is_socket(&path));
    let server = Server::builder().bind(&Address::Unix(path.clone()), echo).expect("a server");
    assert!(Client::connect(server.address()).echoes(b"there"));
}

/// The file of a server that still listens is not touched.
#[test]
fn a_live_file_is_refused() {
    let path = Address::Unix(path("live"));
    let first = Server::builder().bind(&path, echo).expect("a server");
    let refused = Server::builder().bind(&path, echo).expect_err("in use");
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert!(Client::connect(first.address()).echoes(b"undisturbed"));
}

/// A server that has no room in its queue listens all the same: its file is not touched, and nobody waits for room.
#[test]
fn the_file_of_a_server_with_a_full_queue_is_refused_at_once() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    let path = path("full");
    let open = || socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None);
    let (listener, address) = (open().expect("a socket"), UnixAddr::new(&path).expect("a path"));
    bind(listener.as_raw_fd(), &address).expect("nobody is there");
    listen(&listener, Backlog::new(0).expect("a number")).expect("it is bound");
    let mut waiting = Vec::new();
    let full = loop {
        let socket = open().expect("a socket");
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => waiting.push(socket),
            Err(errno) => break errno,
        }
    };
    assert_eq!(full, nix::errno::Errno::EAGAIN);
    let (tell, told) = channel();
    let other = Address::Unix(path.clone());
    thread::spawn(move || tell.send(Server::builder().bind(&other, echo).map(drop)));
    let refused = told.recv_timeout(PATIENCE).expect("it does not wait").expect_err("in use");
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert!(is_socket(&path));
    fs::remove_file(&path).expect("it is ours");
}

/// A file that is no socket is not touched.
#[test]
fn an_ordinary_file_is_left_alone() {
    let path = path("ordinary");
    fs::write(&path, "precious").expect("a file");
    let refused = Server::builder().bind(&Address::Unix(path.clone()), echo).expect_err("in use");
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
    fs::remove_file(&path).expect("it is ours");
}

/// A path that cannot be is an error.
#[test]
fn an_impossible_path_is_an_error() {
    let long = Address::Unix(std::env::temp_dir().join("x".repeat(200)));
    assert!(Server::builder().bind(&long, echo).is_err());
    let nowhere = Address::Unix(path("no-directory").join("socket"));
    assert!(Server::builder().bind(&nowhere, echo).is_err());
}

/// Stays as long as it may.
struct Stays;

impl Handler for Stays {
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }

    fn drain(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::Continue
    }
}

/// A server that takes over the path while its predecessor drains keeps its file when that one ends.
#[test]
fn a_successor_keeps_its_file() {
    let path = path("successor");
    let options = LoopOptions { drain_limit: Duration::from_secs(3600), ..LoopOptions::default() };
    let builder = Server::builder().loops(1).options(options);
    let old = builder.bind(&Address::Unix(path.clone()), |_: &Peer| Stays).expect("a server");
    let _held = Client::connect(old.address());
    until("it is open", || old.usage()[0].metrics.opened.get() == 1);
    let stopper = old.stopper();
    stopper.stop();
    // It may take a moment until the old one listens no more.
    let successor = loop {
        match Server::builder().loops(1).bind(&Address::Unix(path.clone()), echo) {
            Ok(server) => break server,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        }
    };
    stopper.stop_now();
    old.join().expect("an orderly end");
    assert!(is_socket(&path));
    assert!(Client::connect(successor.address()).echoes(b"there"));
}
