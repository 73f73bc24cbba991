//! Sockets that exist already.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use linkpoll::conn::CloseReason;
use linkpoll::net::Address;

use super::{Heard, caller, chain, closed, echoes, loops, mute};
use crate::client::{PATIENCE, any_port, echo};
use crate::drivers::Server;

/// A socket that exists already is taken in with what waits in it, and carries bytes both ways.
#[test]
fn a_socket_can_be_adopted() {
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let own = loops(1);
    for dialer in [own.dialer(), server.dialer()] {
        let (one, mut other) = UnixStream::pair().expect("a pair");
        other.write_all(b"early").expect("a pair is connected");
        let (make, heard) = caller();
        let handle = dialer.adopt(one, make).expect("a socket").wait().expect("it is taken in");
        assert!(matches!(heard.recv_timeout(PATIENCE), Ok(Heard::Bytes(bytes)) if bytes == b"early"));
        handle.send(chain(b"late")).wait().expect("it is sent");
        let mut late = [0; 4];
        other.read_exact(&mut late).expect("bytes");
        assert_eq!(&late, b"late");
        drop(other);
        assert!(matches!(closed(&heard), CloseReason::PeerEnded));

        let Address::Tcp(at) = server.address() else { unreachable!("it was bound to a port") };
        let stream = TcpStream::connect(at).expect("somebody listens");
        let (make, heard) = caller();
        let handle = dialer.adopt(stream, make).expect("a socket").wait().expect("it is taken in");
        assert!(echoes(&handle, &heard, b"adopted"));
    }
}

/// What is no connected stream socket is not adopted.
#[test]
fn only_connected_stream_sockets_are_adopted() {
    let own = loops(1);
    let file = std::fs::File::open("/dev/null").expect("every system has one");
    assert!(own.dialer().adopt(file, mute).is_err());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    udp.connect(udp.local_addr().expect("an address")).expect("to itself");
    assert_eq!(own.dialer().adopt(udp, mute).expect_err("datagrams").kind(), ErrorKind::InvalidInput);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    assert_eq!(own.dialer().adopt(listener, mute).expect_err("no peer").kind(), ErrorKind::NotConnected);
}
