//! A session with a socket at this end, for tests that read and write sockets.
//!
//! What is written to the socket is written to the session, and the other way round; each end of a direction goes along. A
//! socket that is closed closes the session; a session that breaks closes the socket. On the way there is some room: that of
//! the socket, and of two buffers.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;

use linkpoll_conformance::Dialling;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sessions::{Order, ShmPeer};

const BUFFER: usize = 64 << 10;

/// The other end of what is relayed, once there is a session.
pub(crate) fn relay(dialling: Dialling<ShmPeer>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    thread::spawn(move || {
        let peer = dialling.peer();
        let reader = ours.try_clone().expect("a descriptor");
        thread::scope(|scope| {
            scope.spawn(|| to_session(reader, &peer));
            from_session(ours, &peer);
        });
    });
    theirs
}

fn to_session(mut socket: UnixStream, peer: &ShmPeer) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(n) = socket.read(&mut buffer) {
        if n == 0 {
            peer.order(Order::End);
            break;
        }
        if peer.order(|answer| Order::Write(buffer[..n].to_vec(), answer)).is_none() {
            let _ = socket.shutdown(Shutdown::Both);
            break;
        }
    }
    // KERNEL: unix(7), poll(2): a hang-up is that both directions have ended, and cannot be masked.
    let mut watched = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    while poll(&mut watched, PollTimeout::NONE).is_err() {}
    peer.order(Order::Close);
}

fn from_session(mut socket: UnixStream, peer: &ShmPeer) {
    let ended = loop {
        match peer.order(|answer| Order::Read(BUFFER, answer)) {
            // Who has closed the socket is noticed by the other direction.
            Some(Some(bytes)) if socket.write_all(&bytes).is_err() => return,
            Some(Some(_)) => {}
            Some(None) => break Shutdown::Write,
            None => break Shutdown::Both,
        }
    };
    let _ = socket.shutdown(ended);
}
