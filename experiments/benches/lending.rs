//! What lending saves: processor time of the sending thread for each MiB of replies, by reference and by copy.
//! `cargo bench -p linkpoll-experiments --bench lending`, as root.
//!
//! A thread on processor 0 answers requests of one byte with replies that lie in the driver's pool; threads on processor
//! 1 take them in and throw them away (`MSG_TRUNC`). In alternating windows the thread has an epoll driver, an epoll
//! driver that lends, and another epoll driver, whose ratio to the first is the noise.
//!
//! The networks: a pair of interfaces in namespaces of their own, with a program in the receiving driver and threaded
//! NAPI on processor 1, which plays the network card; the same pair without the thread, where the sender's processor does
//! the card's work, too; loopback, where the kernel copies all the same, and lending is switched off.
//!
//! Where the card's part is played by a processor, it is that processor that copies: what is saved is the sender's time,
//! not the machine's.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "../tests/zerocopy/bed.rs"]
#[expect(dead_code, reason = "some beds are for tests only")]
mod bed;
#[path = "../tests/support/skip.rs"]
mod skip;

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket};
use linkpoll::driver::{Driver, Event, Key};
use linkpoll::net::Address;
use linkpoll::sync::Arc;
use linkpoll_experiments::zerocopy::{self, LendingStats, ZerocopyOptions};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

const SENDER: usize = 0;
const RECEIVER: usize = 1;
const CONNECTIONS: usize = 4;
/// Replies that differ: those of 64 KiB together are more than a processor keeps near.
const REPLIES: usize = 64;
const ROUNDS: usize = 9;
const WARM_UP: usize = 2;
const MIB: usize = 1 << 20;

fn main() {
    let name = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let processors = thread::available_parallelism().map_or(0, usize::from);
    println!("Linux {name}, {processors} processors; {CONNECTIONS} connections, {ROUNDS} rounds\n");
    if processors < 2 {
        return println!("not measured: the receiver needs a processor of its own");
    }
    println!(
        "| network | replies | copied, us/MiB | lent, us/MiB | lent / copied | A/A | calls per reply | bar |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---|");
    let pair = |threaded: bool| {
        let pair = bed::Pair::new()?;
        if threaded {
            pair.receive_on(RECEIVER)?;
        }
        Ok((pair.listen()?, pair))
    };
    bed::on(
        "lending with a card",
        || pair(true),
        |(listener, _pair)| {
            let shapes = [
                (1, 16, Some(1.05)),
                (16, 8, None),
                (64, 1, Some(0.7)),
                (64, 4, Some(0.7)),
                (256, 1, Some(0.7)),
            ];
            for (kib, depth, bar) in shapes {
                let mib = if kib == 1 { 32 } else { 192 };
                compare("card", &listener, Shape { size: kib << 10, depth, mib }, true, bar);
            }
        },
    );
    bed::on(
        "lending without a card",
        || pair(false),
        |(listener, _pair)| {
            compare(
                "pair without a thread",
                &listener,
                Shape { size: 64 << 10, depth: 4, mib: 192 },
                true,
                None,
            );
        },
    );
    let loopback = || {
        bed::namespace()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
    };
    bed::on("lending over loopback", loopback, |listener| {
        for (kib, depth) in [(64, 4), (256, 1)] {
            compare("loopback", &listener, Shape { size: kib << 10, depth, mib: 512 }, false, Some(1.05));
        }
    });
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Shape {
    /// Bytes of a reply.
    size: usize,
    /// Replies that are asked for together; when they have come, as many more.
    depth: usize,
    /// MiB of a window.
    mib: usize,
}

impl Shape {
    /// Requests of each connection in a window.
    fn requests(self) -> usize {
        (self.mib * MIB / self.size / CONNECTIONS).next_multiple_of(self.depth)
    }
}

/// One line of the table.
fn compare(network: &str, listener: &TcpListener, shape: Shape, lends: bool, bar: Option<f64>) {
    pin(SENDER);
    let plain = || Epoll::new(EpollOptions::default());
    let mut copying = Contestant::new(plain(), listener, shape, None);
    let mut again = Contestant::new(plain(), listener, shape, None);
    let options = ZerocopyOptions::default();
    let least = options.least;
    let mut driver = zerocopy::driver(EpollOptions::default(), options).expect("an epoll instance");
    let stats = driver.path().stats();
    let mut lending = Contestant::new(Ok(driver), listener, shape, Some(Arc::clone(&stats)));
    for _ in 0..WARM_UP {
        copying.window(shape);
        lending.window(shape);
        again.window(shape);
    }
    let before = [&stats.lent_bytes, &stats.copied, &stats.copied_bytes].map(|counter| counter.get());
    let mut windows = Vec::new();
    for round in 0..ROUNDS {
        let window = if round % 2 == 0 {
            let copied = copying.window(shape);
            let lent = lending.window(shape);
            [copied, lent, again.window(shape)]
        } else {
            let noise = again.window(shape);
            let lent = lending.window(shape);
            [copying.window(shape), lent, noise]
        };
        windows.push(window);
    }
    let after = [&stats.lent_bytes, &stats.copied, &stats.copied_bytes].map(|counter| counter.get());
    let made: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let payload = (ROUNDS * shape.requests() * CONNECTIONS * shape.size) as u64;
    let expected = if shape.size < least { [0, 0, 0] } else { [payload, 0, 0] };
    // Where nothing is copied after all, every byte of large replies is lent; where everything is, hardly one.
    assert!(!lends || made == expected, "lent, copied after all, copied: {made:?} of {payload}");
    assert!(lends || made[0] < payload / 100, "lending is not switched off: {made:?} of {payload}");
    let per_mib = |which: usize| median(windows.iter().map(|window| window[which].0 / 1000.0).collect());
    let ratios = |of: usize| quartiles(windows.iter().map(|window| window[of].0 / window[0].0).collect());
    let calls = |which: usize| median(windows.iter().map(|window| window[which].1).collect());
    let ratio = ratios(1);
    let verdict = match bar {
        None => String::new(),
        Some(bar) if ratio[1] <= bar => format!("{bar}: met"),
        Some(bar) => format!("{bar}: MISSED"),
    };
    println!(
        "| {network} | {} x {} KiB | {:.0} | {:.0} | {} | {} | {:.2} / {:.2} | {verdict} |",
        shape.depth,
        shape.size >> 10,
        per_mib(0),
        per_mib(1),
        shown(ratio),
        shown(ratios(2)),
        calls(0),
        calls(1),
    );
}

/// A driver, its connections, and their peers.
struct Contestant<D> {
    driver: D,
    stats: Option<Arc<LendingStats>>,
    replies: Vec<Segment>,
    next: usize,
    orders: Vec<Sender<usize>>,
    done: Receiver<()>,
}

impl<D: Driver<Socket = Socket>> Contestant<D> {
    fn new(
        driver: io::Result<D>,
        listener: &TcpListener,
        shape: Shape,
        stats: Option<Arc<LendingStats>>,
    ) -> Self {
        let mut driver = driver.expect("an epoll instance");
        let (mut orders, (tells, done)) = (Vec::new(), channel());
        for slot in 0..CONNECTIONS {
            let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
            let (far, address) = listener.accept().expect("a connection");
            near.set_nonblocking(true).expect("an option of sockets");
            // As much as is under way: no reply is taken in part, for a small rest would be copied.
            setsockopt(&near, sockopt::SndBufForce, &(8 * MIB)).expect("an option of sockets");
            let key = Key::new(u32::try_from(slot).expect("few"), 1);
            let socket = Socket { fd: OwnedFd::from(near), peer: Box::new(Address::Tcp(address)) };
            driver.attach(key, socket).expect("it can be watched");
            let (order, received) = channel();
            let tells = tells.clone();
            thread::spawn(move || discard(far, shape, &received, &tells));
            orders.push(order);
        }
        let reply = |_| {
            let mut tail = driver.pool().allocate(shape.size).expect("memory");
            tail.spare()[..shape.size].fill(b'r');
            tail.commit(shape.size)
        };
        let replies = (0..REPLIES).map(reply).collect();
        Self { driver, stats, replies, next: 0, orders, done }
    }

    /// Answers the requests of a window. Answers nanoseconds of this thread's processor time for each MiB, and system calls
    /// for each reply, with what it takes until nothing is lent any more.
    fn window(&mut self, shape: Shape) -> (f64, f64) {
        let calls = self.driver.system_calls();
        let (before, calls_before) = (own_time(), calls.total());
        self.orders.iter().for_each(|order| order.send(shape.requests()).expect("the peers live"));
        let replies = shape.requests() * CONNECTIONS;
        let mut sent = 0;
        while sent < replies * shape.size || self.stats.as_ref().is_some_and(|stats| stats.lent_now() > 0) {
            self.driver.wait(Some(Duration::from_secs(1))).expect("it can wait");
            while let Some(event) = self.driver.next() {
                match event {
                    Event::Received(key, asked) => {
                        let mut chain = Chain::new();
                        for _ in 0..asked.len() {
                            chain.push(self.replies[self.next].clone());
                            self.next = (self.next + 1) % REPLIES;
                        }
                        sent += self.driver.send(key, chain, None);
                    }
                    Event::Sent(_, n) => sent += n,
                    other => panic!("{other:?}"),
                }
            }
        }
        let time = own_time() - before;
        let calls = calls.total() - calls_before;
        (0..CONNECTIONS).for_each(|_| self.done.recv().expect("the peers live"));
        (time / (replies * shape.size) as f64 * MIB as f64, calls as f64 / replies as f64)
    }
}

/// A peer: asks, and throws away what is answered.
fn discard(mut stream: TcpStream, shape: Shape, orders: &Receiver<usize>, done: &Sender<()>) {
    pin(RECEIVER);
    stream.set_nodelay(true).expect("an option of sockets");
    let mut nowhere = vec![0; shape.size];
    while let Ok(requests) = orders.recv() {
        for _ in 0..requests / shape.depth {
            stream.write_all(&[b'?'; 64][..shape.depth]).expect("there is room");
            let mut left = shape.depth * shape.size;
            while left > 0 {
                let part = left.min(shape.size);
                left -= recv(stream.as_raw_fd(), &mut nowhere[..part], MsgFlags::MSG_TRUNC).expect("bytes");
            }
        }
        if done.send(()).is_err() {
            break;
        }
    }
    stream.set_nonblocking(true).expect("an option of sockets");
    assert!(!matches!(stream.read(&mut [0]), Ok(1)), "more than was asked for");
}

fn pin(processor: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(processor).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)).expect("two processors");
}

/// Processor time of this thread, in nanoseconds.
fn own_time() -> f64 {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock")).as_nanos() as f64
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn median(values: Vec<f64>) -> f64 {
    quartiles(values)[1]
}

fn shown([lower, median, upper]: [f64; 3]) -> String {
    format!("{median:.2} ({lower:.2}-{upper:.2})")
}
