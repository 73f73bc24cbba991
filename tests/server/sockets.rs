//! Other ends of connections that are sockets of the system.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use linkpoll::net::Address;

/// An address where nobody listens yet.
pub(crate) fn any_port() -> Address {
    Address::Tcp(([127, 0, 0, 1], 0).into())
}

/// A connection to a server: a stream of either family, since what is used of it is the same for both.
pub(crate) fn connect(address: &Address) -> TcpStream {
    match address {
        Address::Tcp(address) => TcpStream::connect(address).expect("somebody listens"),
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).expect("somebody listens");
            TcpStream::from(OwnedFd::from(stream))
        }
    }
}
