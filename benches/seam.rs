//! What the library costs around the system calls: the whole stack (driver, reactor, handler, codec) against a
//! hand-written loop, both on a kernel that answers at once.
//!
//! The null kernel reports every connection as ready, copies the same batch of framed requests into whatever it is
//! asked to receive into, and takes every send whole. Both sides decode each message and encode a fresh reply. The
//! difference is what the abstraction costs; two depths tell the part per connection from the part per message.
//!
//! The library's side is measured twice: with a handler that is given borrowed bytes, and with a service whose messages
//! are chains that it could keep. It also tells what an idle limit costs, which begins anew with each receive and with each send.
//!
//! `cargo bench --bench seam` prints times; `cargo bench --bench seam -- count WHICH DEPTH SIZE TURNS` runs one side
//! alone (`hand`, `linkpoll`, `service` or `limited`), for an instruction counter.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Epoll, EpollOptions, Interest, Kernel, Readiness, Ready, Socket};
use linkpoll::net::Address;
use linkpoll::reactor::{LoopOptions, Maker, Reactor};
use linkpoll::service::{Frame, Framed, MakeHandler as _, Serve};

const CONNECTIONS: usize = 100;

/// Answers at once.
struct NullKernel {
    null: File,
    watched: Vec<u64>,
    request: Vec<u8>,
    sent: u64,
}

impl NullKernel {
    fn new(depth: usize, size: usize) -> io::Result<Self> {
        let mut request = Vec::new();
        for message in 0..depth {
            request.extend(u32::try_from(size).expect("a small message").to_be_bytes());
            request.extend((0..size).map(|at| u8::try_from((at + message) % 251).expect("below 251")));
        }
        Ok(Self { null: File::open("/dev/null")?, watched: Vec::new(), request, sent: 0 })
    }

    #[inline(never)]
    fn receive(&mut self, into: &mut [u8]) -> usize {
        into[..self.request.len()].copy_from_slice(&self.request);
        self.request.len()
    }

    #[inline(never)]
    fn send(&mut self, bytes: &[u8]) -> usize {
        self.sent += u64::from(black_box(bytes)[bytes.len() - 1]);
        bytes.len()
    }
}

impl AsFd for NullKernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }
}

impl Kernel for NullKernel {
    #[inline(never)]
    fn wait(&mut self, ready: &mut Vec<Ready>, _timeout: i32) -> io::Result<usize> {
        ready.clear();
        let room = ready.capacity();
        ready.extend(self.watched.iter().take(room).map(|token| Ready::new(*token, Readiness::RECEIVE)));
        Ok(ready.len())
    }

    fn watch(&mut self, _fd: BorrowedFd<'_>, token: u64, _interest: Interest) -> io::Result<()> {
        if token != u64::MAX {
            self.watched.push(token);
        }
        Ok(())
    }

    fn rewatch(&mut self, _fd: BorrowedFd<'_>, _token: u64, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, _fd: BorrowedFd<'_>, first: &mut [u8], _second: &mut [u8]) -> io::Result<usize> {
        Ok(Self::receive(self, first))
    }

    fn send(&mut self, _fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(pieces.iter().map(|piece| Self::send(self, piece)).sum())
    }

    fn accept(&mut self, _fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Address)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn shutdown_send(&mut self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// The library's side.
struct Stack(Reactor<Epoll<NullKernel>>);

/// Who answers in the library's side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Handler,
    Service,
}

impl Stack {
    fn new(by: By, depth: usize, size: usize, idle_limit: Option<Duration>) -> io::Result<Self> {
        let driver = Epoll::with_kernel(NullKernel::new(depth, size)?, EpollOptions::default())?;
        let service = Serve::function(Frame::default, |message, reply| reply.send(message));
        let maker: Maker = Box::new(move |peer| {
            if by == By::Service {
                return Box::new(service.make(peer));
            }
            Box::new(Framed::new(Frame::default(), |request, reply| {
                for piece in request.pieces() {
                    reply.write(piece)?;
                }
                Ok(())
            }))
        });
        let options = LoopOptions { idle_limit, ..LoopOptions::default() };
        let mut reactor = Reactor::new(driver, options, Default::default(), maker);
        for _ in 0..CONNECTIONS {
            let fd = File::open("/dev/null")?.into();
            reactor.attach(Socket { fd, peer: Box::new(Address::Unix(Default::default())) });
        }
        // The batch of events grows to its size in the first turns.
        for _ in 0..10 {
            reactor.turn()?;
        }
        Ok(Self(reactor))
    }

    fn turn(&mut self) {
        black_box(self.0.turn().expect("the null kernel does not fail"));
    }
}

/// The hand-written side: a table of connections, one receive buffer, one reply buffer, no abstraction.
struct ByHand {
    kernel: NullKernel,
    ready: Vec<Ready>,
    connections: Vec<Option<File>>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl ByHand {
    fn new(depth: usize, size: usize) -> io::Result<Self> {
        let mut kernel = NullKernel::new(depth, size)?;
        kernel.watched = (0..CONNECTIONS as u64).collect();
        let connections =
            (0..CONNECTIONS).map(|_| File::open("/dev/null").map(Some)).collect::<io::Result<_>>()?;
        Ok(Self {
            kernel,
            ready: Vec::with_capacity(128),
            connections,
            input: vec![0; 64 << 10],
            output: vec![0; 64 << 10],
        })
    }

    fn turn(&mut self) {
        let n = self.kernel.wait(&mut self.ready, -1).expect("the null kernel does not fail");
        for at in 0..n {
            let slot = usize::try_from(self.ready[at].token()).expect("a small number");
            let Some(file) = &self.connections[slot] else { continue };
            black_box(file);
            let received = self.kernel.receive(&mut self.input);
            let (mut from, mut to) = (0, 0);
            while received - from >= 4 {
                let header: [u8; 4] = self.input[from..from + 4].try_into().expect("four bytes");
                let length = u32::from_be_bytes(header) as usize;
                if received - from < 4 + length {
                    break;
                }
                let payload = &self.input[from + 4..from + 4 + length];
                self.output[to..to + 4].copy_from_slice(&header);
                self.output[to + 4..to + 4 + length].copy_from_slice(payload);
                from += 4 + length;
                to += 4 + length;
            }
            black_box(self.kernel.send(&self.output[..to]));
        }
    }
}

/// Nanoseconds per ready connection, the median of alternating rounds: of one side, of the other, and the difference.
fn compare(turns: usize, mut one: impl FnMut(), mut other: impl FnMut()) -> [f64; 3] {
    const ROUNDS: usize = 41;
    let time = |turn: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..turns).for_each(|_| turn());
        started.elapsed().as_secs_f64() * 1e9 / (turns * CONNECTIONS) as f64
    };
    let mut rounds: Vec<[f64; 3]> = (0..ROUNDS)
        .map(|_| {
            let one = time(&mut one);
            let other = time(&mut other);
            [one, other, other - one]
        })
        .collect();
    [0, 1, 2].map(|column| {
        rounds.sort_by(|a, b| a[column].total_cmp(&b[column]));
        rounds[ROUNDS / 2][column]
    })
}

/// Longer than the benchmark takes.
const LIMIT: Option<Duration> = Some(Duration::from_secs(3600));

fn count(arguments: &[String]) -> io::Result<()> {
    let number = |at: usize| arguments[at].parse::<usize>().map_err(io::Error::other);
    let (depth, size, turns) = (number(1)?, number(2)?, number(3)?);
    if arguments[0] == "hand" {
        let mut by_hand = ByHand::new(depth, size)?;
        (0..turns).for_each(|_| by_hand.turn());
    } else {
        let mut stack = Stack::new(
            if arguments[0] == "service" { By::Service } else { By::Handler },
            depth,
            size,
            if arguments[0] == "limited" { LIMIT } else { None },
        )?;
        (0..turns).for_each(|_| stack.turn());
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "count") {
        return count(&arguments[at + 1..]);
    }
    println!("null kernel, {CONNECTIONS} ready connections a turn; nanoseconds per ready connection");
    println!("{:>6} {:>6} {:>10} {:>10} {:>12}", "size", "depth", "by hand", "linkpoll", "difference");
    for size in [64, 1024] {
        let mut differences = [0.0; 2];
        for (depth, difference) in [1, 16].into_iter().zip(&mut differences) {
            let (mut by_hand, mut stack) =
                (ByHand::new(depth, size)?, Stack::new(By::Handler, depth, size, None)?);
            let [hand, library, over] = compare(4000 / depth, || by_hand.turn(), || stack.turn());
            *difference = over;
            println!("{size:>6} {depth:>6} {hand:>10.1} {library:>10.1} {over:>12.1}");
        }
        let message = (differences[1] - differences[0]) / 15.0;
        println!(
            "{size:>6} cost: {:.1} ns per ready connection, {message:.2} ns per message",
            differences[0] - message
        );
    }
    for size in [64, 1024] {
        let mut differences = [0.0; 2];
        for (depth, difference) in [1, 16].into_iter().zip(&mut differences) {
            let mut handler = Stack::new(By::Handler, depth, size, None)?;
            let mut service = Stack::new(By::Service, depth, size, None)?;
            [_, _, *difference] = compare(4000 / depth, || handler.turn(), || service.turn());
        }
        let message = (differences[1] - differences[0]) / 15.0;
        println!(
            "{size:>6} a service costs {:.1} ns more per ready connection, {message:.2} ns per message",
            differences[0] - message
        );
    }
    let (mut without, mut with) =
        (Stack::new(By::Handler, 1, 64, None)?, Stack::new(By::Handler, 1, 64, LIMIT)?);
    let [_, _, over] = compare(4000, || without.turn(), || with.turn());
    println!("an idle limit: {over:.1} ns more per ready connection, for beginning anew twice");
    Ok(())
}
