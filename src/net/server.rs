//! A server: loops on threads.
//!
//! Each loop's driver is made on the loop's own thread, and stays there. Setting up takes two steps, because a
//! loop that places connections must know the others, and because only the first listener learns the real port where
//! 0 was asked for:
//!
//! ```text
//!   caller                          loop thread
//!     | ---- spawn ------------------> make driver and reactor
//!     | <--- ready(handle) or error --
//!     | ---- start(all handles, address) ->  listen
//!     | <--- listening(address) or error --
//!     |                                run, until stopped
//! ```
//!
//! When anything fails, the caller drops its ends of the channels, and every thread ends.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::socket_file::SocketFile;
use super::{Accept, Address, ServerBuilder};
use crate::driver::{Driver, SystemCalls};
use crate::reactor::{
    ListenerMetrics, LoopHandle, LoopMetrics, LoopOptions, Maker, Placement, Placer, Reactor, StopWord,
    Stopper,
};
use crate::service::MakeHandler;
use crate::sync::Arc;
use crate::sys;

/// What one loop has counted.
#[derive(Clone, Debug)]
pub struct Usage {
    /// What the loop did.
    pub metrics: Arc<LoopMetrics>,
    /// What its driver asked of the kernel.
    pub system_calls: Arc<SystemCalls>,
    /// What its listener did, if it has one.
    pub listener: Option<Arc<ListenerMetrics>>,
}

/// A running server. Dropping it stops it, as [`Stopper::stop`], and waits for it to end.
pub struct Server {
    address: Address,
    file: Option<SocketFile>,
    stopper: Stopper,
    usage: Vec<Usage>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// What is known of a server once it accepts.
struct Started {
    address: Address,
    stopper: Stopper,
    usage: Vec<Usage>,
}

struct Ready<S> {
    handle: LoopHandle<S>,
    system_calls: Arc<SystemCalls>,
}

struct Start<S> {
    placer: Placer<S>,
    listen: Option<(Address, bool)>,
    stopper: Stopper,
}

/// Where a loop listens, and what its listener counts.
type Listening = (Address, Option<Arc<ListenerMetrics>>);

/// A loop's thread, seen from the caller.
struct Thread<S> {
    join: JoinHandle<io::Result<()>>,
    ready: Receiver<io::Result<Ready<S>>>,
    start: Sender<Start<S>>,
    listening: Receiver<io::Result<Option<Listening>>>,
}

impl Server {
    /// How servers are set up.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address that the server listens at, with the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops the server from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// What each loop has counted.
    #[must_use]
    pub fn usage(&self) -> &[Usage] {
        &self.usage
    }

    /// Waits until the server has been stopped and has ended.
    ///
    /// # Errors
    /// When a loop's driver broke. The other loops were stopped then.
    pub fn join(mut self) -> io::Result<()> {
        self.wait()
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a loop panicked")));
            result = result.and(ended);
        }
        if let Some(file) = self.file.take() {
            file.remove();
        }
        result
    }

    pub(super) fn start<D: Driver + 'static>(
        builder: &ServerBuilder,
        address: &Address,
        make: impl MakeHandler,
        factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let word: Arc<StopWord> = Arc::default();
        let mut threads = Vec::new();
        let started = set_up(builder, address, make, factory, &word, &mut threads);
        // Without their channels, loops that are not started yet end.
        let threads: Vec<_> = threads.into_iter().map(|thread| thread.join).collect();
        match started {
            Ok(Started { address, stopper, usage }) => {
                let file = SocketFile::at(&address);
                Ok(Self { address, file, stopper, usage, threads })
            }
            Err(error) => {
                // They have nothing to tell but that they have ended.
                threads.into_iter().for_each(|thread| drop(thread.join()));
                Err(error)
            }
        }
    }
}

/// Makes the loops, and lets them listen. After an error those that already run have been stopped.
fn set_up<D: Driver + 'static>(
    builder: &ServerBuilder,
    address: &Address,
    make: impl MakeHandler,
    factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
    word: &Arc<StopWord>,
    threads: &mut Vec<Thread<D::Socket>>,
) -> io::Result<Started> {
    let make = Arc::new(make);
    let factory = Arc::new(factory);
    for index in 0..builder.loops {
        let make = Arc::clone(&make);
        let maker: Maker = Box::new(move |peer| Box::new(make.make(peer)));
        let factory = Arc::clone(&factory);
        threads.push(spawn(index, builder.options, Arc::clone(word), maker, move || factory(index))?);
    }
    let mut loops = Vec::new();
    for thread in &*threads {
        loops.push(thread.ready.recv().map_err(|_| gone())??);
    }
    let handles: Vec<_> = loops.iter().map(|ready| ready.handle.clone()).collect();
    let wakes = handles.iter().map(|handle| Box::new(handle.post.clone()) as _).collect();
    let stopper = Stopper::new(Arc::clone(word), wakes);
    let begun = begin(builder.accept, address, threads, &handles, &stopper);
    let (address, listeners) = begun.inspect_err(|_| stopper.stop_now())?;
    let usage = loops
        .into_iter()
        .zip(listeners)
        .map(|(ready, listener)| {
            let Ready { handle, system_calls } = ready;
            Usage { metrics: handle.metrics, system_calls, listener }
        })
        .collect();
    Ok(Started { address, stopper, usage })
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stopper.stop();
            // Nobody is left to be told; `join` is there for those who want to know.
            drop(self.wait());
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("loops", &self.usage.len())
            .finish_non_exhaustive()
    }
}

/// Stops all loops when one ends. Had it been stopped, this does nothing; but it may have ended by an error, or by a
/// panic.
struct StopOthers(Stopper);

impl Drop for StopOthers {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn gone() -> io::Error {
    io::Error::other("a loop ended while it was set up")
}

/// Lets the loops listen, the first one first. Answers the real address, and each loop's listener.
fn begin<S>(
    accept: Accept,
    address: &Address,
    threads: &[Thread<S>],
    handles: &[LoopHandle<S>],
    stopper: &Stopper,
) -> io::Result<(Address, Vec<Option<Arc<ListenerMetrics>>>)> {
    let (share, placement) = match (accept, address) {
        (Accept::EachLoop, Address::Tcp(_)) => (true, None),
        (Accept::EachLoop, Address::Unix(_)) => (false, Some(Placement::RoundRobin)),
        (Accept::OneLoop(placement), _) => (false, Some(placement)),
    };
    if share && threads.len() > 1 {
        sys::require_free(address)?;
    }
    let mut bound = address.clone();
    let mut listeners = Vec::new();
    for (index, thread) in threads.iter().enumerate() {
        let placer = match placement {
            Some(placement) if index == 0 => Placer::over(handles.to_vec(), index, placement),
            _ => Placer::here(),
        };
        let listen = (index == 0 || share).then(|| (bound.clone(), share && threads.len() > 1));
        let start = Start { placer, listen, stopper: stopper.clone() };
        thread.start.send(start).map_err(|_| gone())?;
        let listening = thread.listening.recv().map_err(|_| gone())??;
        listeners.push(listening.and_then(|(address, listener)| {
            bound = address;
            listener
        }));
    }
    Ok((bound, listeners))
}

fn spawn<D: Driver + 'static>(
    index: usize,
    options: LoopOptions,
    word: Arc<StopWord>,
    maker: Maker,
    factory: impl FnOnce() -> io::Result<D> + Send + 'static,
) -> io::Result<Thread<D::Socket>> {
    let (tell_ready, ready) = channel();
    let (start, started) = channel::<Start<D::Socket>>();
    let (tell_listening, listening) = channel();
    let join = std::thread::Builder::new().name(format!("linkpoll-{index}")).spawn(move || {
        let driver = match factory() {
            Ok(driver) => driver,
            Err(error) => {
                drop(tell_ready.send(Err(error)));
                return Ok(());
            }
        };
        let mut reactor = Reactor::new(driver, options, word, maker);
        let told = Ready { handle: reactor.handle(), system_calls: reactor.system_calls() };
        drop(tell_ready.send(Ok(told)));
        let Ok(start) = started.recv() else { return Ok(()) };
        reactor.place_with(start.placer);
        let listened = start
            .listen
            .map(|(address, share)| Ok((reactor.listen(&address, share)?, reactor.listeners().pop())))
            .transpose();
        let failed = listened.is_err();
        if tell_listening.send(listened).is_err() || failed {
            return Ok(());
        }
        drop((started, tell_listening));
        let _others = StopOthers(start.stopper);
        reactor.run()
    })?;
    Ok(Thread { join, ready, start, listening })
}
