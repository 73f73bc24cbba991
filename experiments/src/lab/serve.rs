//! `lab serve`: one transport behind a listening socket.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use linkpoll::buffer::SegmentWriter;
use linkpoll::driver::{Driver, epoll};
use linkpoll::net::{Accept, Address, Server, ServerBuilder, Usage};
use linkpoll::reactor::{LoopOptions, Placement, Spin};
use linkpoll::service::{Dispatch, Frame, FrameOptions, Framed, HandlerError, MakeHandler, Payload, Peer};
use linkpoll_experiments::{DriverOptions, LentMemory};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::address::Address as Listen;
use crate::affinity;
use crate::cli::{self, Protocol, ServeArguments, ServerSpin, Trigger};
use crate::control::{self, Memory, Stats, Syscalls};
use crate::error::LabError;
use crate::{rlimit, service, stats};

/// Serves until SIGINT or SIGTERM, then drains.
///
/// # Errors
/// When the address cannot be listened at, or a loop breaks.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), LabError> {
    if let Some(cpus) = &arguments.cpus {
        affinity::obey(cpus)?;
    }
    rlimit::raise()?;
    // Caught from the start: a signal that comes while the server starts must stop it too.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(LabError::system("watch for signals"))?;
    let address = match &arguments.listen {
        Listen::Tcp(address) => Address::Tcp(*address),
        Listen::Unix(path) => Address::Unix(path.clone()),
    };
    let requests = Requests::default();
    let where_to = arguments.dispatch.map(|where_to| service::dispatch(arguments, where_to)).transpose();
    let where_to = where_to.map_err(LabError::system("start the pool"))?;
    let loans = Loans::default();
    let server = bind(arguments, &address, requests.clone(), loans.clone(), where_to.clone())
        .map_err(LabError::system(format!("listen on {address}")))?;
    let (usage, refused) = (server.usage().to_vec(), loans.clone());
    thread::spawn(move || tell_of_descriptors(&usage, &refused));
    if arguments.control {
        let usage = server.usage().to_vec();
        control::answer(move || stats(&usage, &requests, &loans))
            .map_err(LabError::system("start a thread"))?;
    }
    control::announce(server.address()).map_err(LabError::system("print the address"))?;
    if let Some(interval) = arguments.stats {
        let usage = server.usage().to_vec();
        thread::spawn(move || stats::print(interval, &usage, where_to.as_ref()));
    }
    let stopper = server.stopper();
    thread::spawn(move || {
        let mut raised = signals.forever();
        if raised.next().is_some() {
            stopper.stop();
        }
        // The impatient signal twice.
        if raised.next().is_some() {
            stopper.stop_now();
        }
    });
    server.join().map_err(LabError::system("serve"))
}

fn bind(
    arguments: &ServeArguments,
    address: &Address,
    requests: Requests,
    loans: Loans,
    dispatch: Option<Dispatch>,
) -> io::Result<Server> {
    let spin = match arguments.spin {
        ServerSpin::Never => Spin::Never,
        ServerSpin::Once => Spin::Once,
        ServerSpin::Adaptive => Spin::Adaptive,
        ServerSpin::Always => Spin::Always,
    };
    let trigger = match arguments.trigger {
        Trigger::Lt => epoll::Trigger::Level,
        Trigger::Et => epoll::Trigger::Edge,
    };
    let accept = match arguments.accept {
        cli::Accept::Each => Accept::EachLoop,
        cli::Accept::RoundRobin => Accept::OneLoop(Placement::RoundRobin),
        cli::Accept::Least => Accept::OneLoop(Placement::LeastConnections),
        cli::Accept::ByAddress => Accept::OneLoop(Placement::ByAddress),
    };
    let mut options = LoopOptions { spin, ..LoopOptions::default() };
    options.slice = slice(arguments.loop_slice, options.slice);
    let mut builder: ServerBuilder = Server::builder().options(options).accept(accept);
    if let Some(loops) = arguments.loops {
        builder = builder.loops(usize::from(loops));
    }
    match arguments.transport.over_sockets() {
        Some(transport) => {
            let options = DriverOptions { trigger, ..DriverOptions::default() };
            let factory = move |_| {
                let mut driver = transport.driver(&options)?;
                loans.add(driver.lent());
                Ok(driver)
            };
            bind_on(builder, arguments, address, requests, dispatch, factory)
        }
        #[cfg(feature = "shm")]
        None => {
            let mut options =
                linkpoll_shm::ShmOptions { statistics: loans.shared.clone(), ..Default::default() };
            options.session.doorbell = arguments.doorbell.map(Into::into).unwrap_or_default();
            let factory = move |_| linkpoll_shm::ShmDriver::new(options.clone());
            bind_on(builder, arguments, address, requests, dispatch, factory)
        }
        #[cfg(not(feature = "shm"))]
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn bind_on<D: Driver + 'static>(
    builder: ServerBuilder,
    arguments: &ServeArguments,
    address: &Address,
    requests: Requests,
    dispatch: Option<Dispatch>,
    factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
) -> io::Result<Server> {
    match (arguments.protocol, dispatch) {
        (Protocol::Frame, None) => {
            builder.bind_with(address, frame(arguments.max_message, requests), factory)
        }
        (Protocol::Frame, Some(dispatch)) => {
            builder.bind_with(address, service::maker(arguments, dispatch), factory)
        }
    }
}

/// How often a server looks whether it was short of descriptors.
const DESCRIPTORS_EVERY: Duration = Duration::from_secs(1);

/// A slice as it was asked for, where zero asks for none.
pub(crate) fn slice(asked: Option<Duration>, usual: Option<Duration>) -> Option<Duration> {
    asked.map_or(usual, |slice| Some(slice).filter(|slice| !slice.is_zero()))
}

/// Decodes each message and encodes a fresh reply of the same bytes.
fn frame(max_payload: u32, requests: Requests) -> impl MakeHandler {
    let frame = Frame::new(FrameOptions { max_payload });
    move |_: &Peer| {
        let count = requests.of_this_loop();
        Framed::new(frame, move |request, reply| {
            // One writer, so no read-modify-write: this loop's thread.
            // ORDERING: Relaxed: only the value is of interest.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            echo(request, reply)
        })
    }
}

/// Payloads of at least so many bytes go back as they lie in memory.
const LARGE: usize = 16 << 10;

/// Writes a payload as its reply: a large one is linked, but for its small pieces, and a small one is copied, for a handful
/// of bytes should not keep the block that they were received into.
fn echo(request: Payload<'_>, reply: &mut SegmentWriter) -> Result<(), HandlerError> {
    if request.len() >= LARGE {
        return Ok(reply.append_chain(request.into_chain())?);
    }
    for piece in request.pieces() {
        reply.write(piece)?;
    }
    Ok(())
}

fn stats(usage: &[Usage], requests: &Requests, loans: &Loans) -> Stats {
    let (mut syscalls, mut memory) = (Syscalls::default(), loans.total());
    // A service counts its messages by itself.
    let mut messages = 0;
    for usage in usage {
        messages += usage.metrics.messages.get();
        memory.sent += usage.metrics.sent.get();
        let calls = &usage.system_calls;
        syscalls.wait += calls.wait.get();
        syscalls.receive += calls.receive.get();
        syscalls.send += calls.send.get();
        syscalls.other += calls.accept.get() + calls.control.get() + calls.other.get();
    }
    Stats { requests: Some(requests.total() + messages), syscalls, memory: Some(memory) }
}

/// Says so on standard error, once for each time, when connections have to wait, or are refused, because this process may
/// have no more descriptors.
fn tell_of_descriptors(usage: &[Usage], loans: &Loans) {
    let short = || {
        let rests = usage.iter().flat_map(|usage| &usage.listeners).map(|it| it.rests.get());
        rests.sum::<u64>() + loans.refused()
    };
    let (mut before, mut told) = (short(), false);
    loop {
        thread::sleep(DESCRIPTORS_EVERY);
        let now = short();
        if now > before && !told {
            let limit = rlimit::soft().map_or("unknown".into(), |limit| limit.to_string());
            // Whoever started the server may have closed it.
            let _ = writeln!(
                io::stderr(),
                "lab: out of file descriptors or memory (RLIMIT_NOFILE is {limit}): new connections wait or are refused"
            );
        }
        // Told once for a time of want, however long.
        told = now > before;
        before = now;
    }
}

/// What the drivers have lent, each counted by its loop; and what those over shared memory show of themselves.
#[derive(Clone, Default)]
struct Loans {
    over_sockets: Arc<Mutex<Vec<Arc<LentMemory>>>>,
    #[cfg(feature = "shm")]
    shared: linkpoll_shm::driver::StatisticsGroup,
}

impl Loans {
    fn add(&self, lent: Option<Arc<LentMemory>>) {
        self.over_sockets.lock().unwrap_or_else(PoisonError::into_inner).extend(lent);
    }

    fn total(&self) -> Memory {
        let mut total = Memory::default();
        for lent in self.over_sockets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Looked at first: what has come back was lent.
            let (delays, copied) = (lent.delays.counts(), lent.copied.get());
            total.add(&Memory { sent: 0, lent: lent.bytes.get(), copied, delays });
        }
        total.lent += self.of_shared("bytes_lent");
        total
    }

    /// Sessions that were refused for want of descriptors or memory.
    fn refused(&self) -> u64 {
        self.of_shared("refused_resources")
    }

    /// A count of the drivers over shared memory.
    #[cfg(feature = "shm")]
    fn of_shared(&self, name: &str) -> u64 {
        let (_, counts) = self.shared.sum();
        counts.into_iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| count)
    }

    #[cfg(not(feature = "shm"))]
    fn of_shared(&self, _name: &str) -> u64 {
        0
    }
}

/// Requests answered, counted by each loop for itself.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<HashMap<ThreadId, Arc<AtomicU64>>>>);

impl Requests {
    fn of_this_loop(&self) -> Arc<AtomicU64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.entry(thread::current().id()).or_default())
    }

    fn total(&self) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::{ControlFlow, Range};

    use linkpoll::buffer::{BlockPool, Chain, PoolOptions};

    use super::*;

    /// The byte at a place of a payload.
    fn byte(at: usize) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    /// A message of so many bytes, as it is received: in several pieces, each in a block of its own.
    fn received(pool: &BlockPool, size: usize) -> Chain {
        let length = u32::try_from(size).unwrap().to_be_bytes();
        let message: Vec<u8> = length.into_iter().chain((0..size).map(byte)).collect();
        let mut chain = Chain::new();
        for part in message.chunks((size / 3).max(8 << 10)) {
            let mut tail = pool.allocate(part.len()).unwrap();
            tail.spare()[..part.len()].copy_from_slice(part);
            chain.push(tail.commit(part.len()));
        }
        chain
    }

    /// Bytes of a chain that lie outside of these.
    fn copied(chain: &Chain, places: &[Range<usize>]) -> usize {
        let lies_outside = |at: usize| !places.iter().any(|place| place.contains(&at));
        let outside = chain.segments().filter(|segment| lies_outside(segment.as_ptr().addr()));
        outside.map(|segment| segment.len()).sum()
    }

    /// The bytes of large replies are those that were received: none of them is copied but for small pieces.
    #[test]
    fn large_replies_are_linked_and_small_ones_copied() {
        let pool = BlockPool::new(PoolOptions::default());
        for (size, expected) in
            [(1 << 10, 1 << 10), (16 << 10, 4), (64 << 10, 5), (256 << 10, 5), (1 << 20, 5)]
        {
            let mut chain = received(&pool, size);
            let kept: Vec<_> = chain.segments().cloned().collect();
            let bytes = kept.iter().map(|segment| segment.as_ptr_range());
            let places: Vec<_> = bytes.map(|range| range.start.addr()..range.end.addr()).collect();
            let mut writer = SegmentWriter::new(pool.clone());
            let frame = Frame::new(FrameOptions::default());
            let missing = frame.for_each(&mut chain, |request| {
                echo(request, &mut writer).unwrap();
                ControlFlow::Continue(())
            });
            assert_eq!((missing.unwrap(), chain.len()), (0, 0));
            let reply = writer.take().unwrap();
            assert_eq!(copied(&reply, &places), expected, "{size}");
            let sent: Vec<u8> = reply.segments().flat_map(|segment| segment.to_vec()).collect();
            assert!(sent.iter().enumerate().all(|(at, byte)| *byte == self::byte(at)), "other bytes");
            assert_eq!(sent.len(), size);
        }
    }
}
