//! Options of listening and polling sockets.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, setsockopt, socket,
    sockopt,
};

use super::{Finding, errno, raw};

pub(super) fn examine() -> Vec<Finding> {
    vec![Finding::tried("SO_REUSEPORT", shared_port()), Finding::tried("SO_BUSY_POLL", busy_poll())]
}

/// Two sockets listen on one port.
fn shared_port() -> Result<String, Errno> {
    let listener = |port| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
        listen(&socket, Backlog::new(8)?)?;
        Ok::<_, Errno>(socket)
    };
    let first = listener(0)?;
    let bound: SockaddrIn = getsockname(first.as_raw_fd())?;
    let _second = listener(bound.port())?;
    Ok("two sockets listened on one port".into())
}

fn busy_poll() -> Result<String, Errno> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|error| errno(&error))?;
    raw::set_option(socket.as_fd(), libc::SO_BUSY_POLL, 50)?;
    Ok("50 us taken; only devices with NAPI can be polled, the loopback has none".into())
}
