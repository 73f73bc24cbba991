//! The floor: a hand-written level-triggered epoll echo loop, one `recv` and one `send` per ready connection.
//!
//! The honest limit of readiness on a machine: no abstraction, no decoding, one thread.

#![expect(unsafe_code, reason = "accept4 returns a bare descriptor")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
// ORDERING: Relaxed throughout: counters of one writer, read for their values alone.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv, send, setsockopt, sockopt::TcpNoDelay};

use crate::address::Address;
use crate::cli::{FloorArguments, Variant};
use crate::control::{self, Stats, Syscalls};
use crate::error::{LabError, STANDARD_OUTPUT};

const BUFFER: usize = 64 << 10;

struct Connection {
    socket: OwnedFd,
    buffer: Vec<u8>, // empty in the shared variant
    rest: Vec<u8>,   // what a short send left over; while it is not empty nothing is received
}

static COUNTERS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

fn sample() -> Stats {
    let [wait, receive, send, other] = COUNTERS.each_ref().map(|counter| counter.load(Relaxed));
    Stats { requests: None, syscalls: Syscalls { wait, receive, send, other }, memory: None }
}

/// Echoes until a signal ends the process.
pub(crate) fn run(arguments: &FloorArguments) -> Result<(), LabError> {
    crate::rlimit::raise()?;
    let (listener, bound) = arguments.listen.listen()?;
    control::answer(sample).map_err(LabError::system("start the control thread"))?;
    control::announce(&bound).map_err(LabError::system(STANDARD_OUTPUT))?;
    echo(&listener, matches!(bound, Address::Tcp(_)), arguments.variant).map_err(LabError::system("floor"))
}

fn echo(listener: &OwnedFd, tcp: bool, variant: Variant) -> Result<(), Errno> {
    let own = if variant == Variant::Own { BUFFER } else { 0 };
    let (mut shared, mut calls) = (vec![0; BUFFER], Syscalls::default());
    let mut connections: Vec<Option<Connection>> = Vec::new(); // by descriptor
    let mut events = [EpollEvent::empty(); 1024];
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, interest(listener, EpollFlags::EPOLLIN))?;
    loop {
        calls.wait += 1;
        for (counter, value) in COUNTERS.iter().zip([calls.wait, calls.receive, calls.send, calls.other]) {
            counter.store(value, Relaxed);
        }
        let ready = none_if(Errno::EINTR, epoll.wait(&mut events, EpollTimeout::NONE))?;
        for event in &events[..ready] {
            let descriptor = usize::try_from(event.data()).unwrap_or(usize::MAX);
            if let Some(Some(connection)) = connections.get_mut(descriptor) {
                if serve(connection, &mut shared, &epoll, &mut calls).is_err() {
                    connections[descriptor] = None; // closing it takes it out of the epoll set
                }
            } else if let Some(socket) = accept(listener, tcp, &epoll, &mut calls)? {
                let descriptor = socket.as_raw_fd() as usize;
                connections.resize_with(connections.len().max(descriptor + 1), || None);
                connections[descriptor] = Some(Connection { socket, buffer: vec![0; own], rest: Vec::new() });
            }
        }
    }
}

fn interest(socket: &OwnedFd, flags: EpollFlags) -> EpollEvent {
    EpollEvent::new(flags, socket.as_raw_fd() as u64)
}

fn none_if(harmless: Errno, result: Result<usize, Errno>) -> Result<usize, Errno> {
    if result == Err(harmless) { Ok(0) } else { result }
}

fn accept(from: &OwnedFd, tcp: bool, epoll: &Epoll, calls: &mut Syscalls) -> Result<Option<OwnedFd>, Errno> {
    calls.other += 2 + u64::from(tcp);
    let descriptor = match accept4(from.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => return Ok(None),
        other => other?,
    };
    // SAFETY: accept4 has just created this descriptor and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    if tcp {
        setsockopt(&socket, TcpNoDelay, &true)?;
    }
    epoll.add(&socket, interest(&socket, EpollFlags::EPOLLIN))?;
    Ok(Some(socket))
}

/// One receive and one send; an error means that the connection is over.
fn serve(to: &mut Connection, shared: &mut [u8], epoll: &Epoll, calls: &mut Syscalls) -> Result<(), Errno> {
    let descriptor = to.socket.as_raw_fd();
    let held = !to.rest.is_empty();
    let buffer = if to.buffer.is_empty() { shared } else { &mut to.buffer[..] };
    let outgoing = if held {
        &to.rest[..]
    } else {
        calls.receive += 1;
        match recv(descriptor, buffer, MsgFlags::empty()) {
            Ok(0) => return Err(Errno::ECONNRESET),
            Err(Errno::EAGAIN) => return Ok(()),
            received => &buffer[..received?],
        }
    };
    calls.send += 1;
    let sent = none_if(Errno::EAGAIN, send(descriptor, outgoing, MsgFlags::MSG_NOSIGNAL))?;
    if held || sent < outgoing.len() {
        to.rest = outgoing[sent..].to_vec();
        let flags = if to.rest.is_empty() { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
        calls.other += 1;
        epoll.modify(&to.socket, &mut interest(&to.socket, flags))?;
    }
    Ok(())
}
