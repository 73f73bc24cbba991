//! A group of loops, each a thread with a driver of its own; and a server is a group that listens.
//!
//! Each loop's driver is made on the loop's own thread, and stays there. Setting up takes two steps, because a
//! loop that places connections must know the others, and because only the first listener learns the real port where
//! 0 was asked for:
//!
//! ```text
//!   caller                          loop thread
//!     | ---- spawn ------------------> make driver and reactor
//!     | <--- ready(handle) or error --
//!     | ---- start(all handles, addresses) ->  listen, if there are addresses
//!     | <--- listening(addresses) or error --
//!     |                                run, until stopped
//! ```
//!
//! When anything fails, the caller drops its ends of the channels, and every thread ends.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::socket_file::SocketFile;
use super::{Accept, Address, Dialer};
use crate::driver::epoll::{Epoll, EpollOptions, Trigger};
use crate::driver::{Driver, SystemCalls};
use crate::reactor::{
    ListenerMetrics, LoopHandle, LoopMetrics, LoopOptions, Maker, Placement, Placer, Reactor, Spin, StopWord,
    Stopper,
};
use crate::service::{Flow, Handler, Io};
use crate::sync::Arc;
use crate::sys;
use crate::trace::event;

/// What one loop has counted.
#[derive(Clone, Debug)]
pub struct Usage {
    /// What the loop did.
    pub metrics: Arc<LoopMetrics>,
    /// What its driver asked of the kernel.
    pub system_calls: Arc<SystemCalls>,
    /// What its listener did, if it has one; the first, if it has several.
    pub listener: Option<Arc<ListenerMetrics>>,
    /// What each of its listeners did, in the order of the server's addresses.
    pub listeners: Vec<Arc<ListenerMetrics>>,
}

/// Running loops, which carry the connections that are [brought](Dialer) to them. Dropping them stops them, as
/// [`Stopper::stop`], and waits for them to end; except on the thread of one of them, where it only stops them.
pub struct Loops {
    stopper: Stopper,
    usage: Vec<Usage>,
    dialer: Dialer,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// Sets up [`Loops`].
#[derive(Clone, Debug)]
pub struct LoopsBuilder {
    pub(super) loops: usize,
    pub(super) options: LoopOptions,
    pub(super) epoll: EpollOptions,
}

impl Default for LoopsBuilder {
    fn default() -> Self {
        Self {
            loops: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            options: LoopOptions::default(),
            epoll: EpollOptions::default(),
        }
    }
}

impl LoopsBuilder {
    /// The number of loops, each a thread with a driver of its own; at least one. Default: one per processor.
    #[must_use]
    pub fn loops(mut self, loops: usize) -> Self {
        self.loops = loops.max(1);
        self
    }

    /// Whether loops look for work before they sleep. Default: never.
    #[must_use]
    pub fn spin(mut self, spin: Spin) -> Self {
        self.options.spin = spin;
        self
    }

    /// When the kernel reports a connection. Default: level-triggered.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.epoll.trigger = trigger;
        self
    }

    /// Everything about loops at once, in place of what was said before.
    #[must_use]
    pub fn options(mut self, options: LoopOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts loops on epoll.
    ///
    /// # Errors
    /// When a loop cannot be set up. Nothing is left running then.
    pub fn start(self) -> io::Result<Loops> {
        let epoll = self.epoll;
        self.start_with(move |_| Epoll::new(epoll))
    }

    /// As [`start`](Self::start), on the drivers that `factory` makes: one for each loop, by number, on its thread.
    ///
    /// # Errors
    /// As [`start`](Self::start), and those of the factory.
    pub fn start_with<D: Driver + 'static>(
        self,
        factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
    ) -> io::Result<Loops> {
        let nobody = || -> Maker { Box::new(|_| Box::new(Nobody)) };
        self.launch(nobody, factory, None).map(|(loops, _)| loops)
    }

    /// Starts loops, and lets them listen if there are addresses for it. Answers those as they are in use.
    pub(super) fn launch<D: Driver + 'static>(
        &self,
        maker: impl Fn() -> Maker,
        factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
        listen: Option<(Accept, &[Address])>,
    ) -> io::Result<(Loops, Bound)> {
        let mut threads = Vec::new();
        let started = self.set_up(maker, factory, listen, &mut threads);
        // Without their channels, loops that are not started yet end.
        let threads: Vec<_> = threads.into_iter().map(|thread| thread.join).collect();
        match started {
            Ok((stopper, usage, dialer, bound)) => Ok((Loops { stopper, usage, dialer, threads }, bound)),
            Err(error) => {
                // They have nothing to tell but that they have ended.
                threads.into_iter().for_each(|thread| drop(thread.join()));
                Err(error)
            }
        }
    }

    /// Makes the loops, and lets them listen and run. After an error those that already run have been stopped.
    fn set_up<D: Driver + 'static>(
        &self,
        maker: impl Fn() -> Maker,
        factory: impl Fn(usize) -> io::Result<D> + Send + Sync + 'static,
        listen: Option<(Accept, &[Address])>,
        threads: &mut Vec<Thread<D::Socket>>,
    ) -> io::Result<(Stopper, Vec<Usage>, Dialer, Bound)> {
        let word: Arc<StopWord> = Arc::default();
        let factory = Arc::new(factory);
        for index in 0..self.loops {
            let factory = Arc::clone(&factory);
            threads.push(spawn(index, self.options, Arc::clone(&word), maker(), move || factory(index))?);
        }
        let mut loops = Vec::new();
        for thread in &*threads {
            loops.push(thread.ready.recv().map_err(|_| gone())??);
        }
        let handles: Vec<_> = loops.iter().map(|ready| ready.handle.clone()).collect();
        let wakes = handles.iter().map(|handle| Box::new(handle.post.clone()) as _).collect();
        let ways = handles.iter().map(|handle| Box::new(handle.post.clone()) as _).collect();
        let stopper = Stopper::new(word, wakes);
        let begun = begin(listen, threads, &handles, &stopper);
        let (bound, listeners) = begun.inspect_err(|_| stopper.stop_now())?;
        let usage = loops
            .into_iter()
            .zip(listeners)
            .map(|(ready, listeners)| {
                let Ready { handle, system_calls } = ready;
                let listener = listeners.first().cloned();
                Usage { metrics: handle.metrics, system_calls, listener, listeners }
            })
            .collect();
        Ok((stopper, usage, Dialer::over(ways), bound))
    }
}

impl Loops {
    /// How loops are set up.
    #[must_use]
    pub fn builder() -> LoopsBuilder {
        LoopsBuilder::default()
    }

    /// Brings connections to these loops, from any thread.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// Stops the loops from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// What each loop has counted.
    #[must_use]
    pub fn usage(&self) -> &[Usage] {
        &self.usage
    }

    /// Waits until the loops have been stopped and have ended. Blocks; on the thread of one of them it does not wait
    /// for that one.
    ///
    /// # Errors
    /// When a loop's driver broke. The other loops were stopped then.
    pub fn join(mut self) -> io::Result<()> {
        self.wait()
    }

    pub(super) fn wait(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        let own = thread::current().id();
        for thread in self.threads.drain(..).filter(|it| it.thread().id() != own) {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a loop panicked")));
            result = result.and(ended);
        }
        result
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.stopper.stop();
        let own = thread::current().id();
        if self.threads.iter().all(|it| it.thread().id() != own) {
            // Nobody is left to be told; `join` is there for those who want to know.
            drop(self.wait());
        }
    }
}

impl fmt::Debug for Loops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loops").field("loops", &self.usage.len()).finish_non_exhaustive()
    }
}

/// The handler of accepted connections where nobody listens: there are none.
struct Nobody;

impl Handler for Nobody {
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        Flow::CloseWhenSent
    }
}

struct Ready<S> {
    handle: LoopHandle<S>,
    system_calls: Arc<SystemCalls>,
}

struct Start<S> {
    placer: Placer<S>,
    listen: Vec<Listen>,
    stopper: Stopper,
}

/// A listener that a loop is to have.
struct Listen {
    address: Address,
    share: bool,
    /// What it accepts stays on its loop.
    keep: bool,
}

/// The addresses that loops listen at, as they are in use, and the files that were made for them.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) addresses: Vec<Address>,
    pub(super) files: Vec<SocketFile>,
}

/// Where a loop listens, the files that it has made for that, and what its listeners count.
type Listening = Vec<(Address, Option<SocketFile>, Arc<ListenerMetrics>)>;

/// Where loops listen, and each loop's listeners.
type Begun = (Bound, Vec<Vec<Arc<ListenerMetrics>>>);

/// A loop's thread, seen from the caller.
struct Thread<S> {
    join: JoinHandle<io::Result<()>>,
    ready: Receiver<io::Result<Ready<S>>>,
    start: Sender<Start<S>>,
    listening: Receiver<io::Result<Listening>>,
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

/// Lets the loops listen, the first one first, and run. Answers the real addresses, and each loop's listeners.
///
/// The first loop has all listeners. The others have those that share a port, and keep what these accept.
fn begin<S>(
    listen: Option<(Accept, &[Address])>,
    threads: &[Thread<S>],
    handles: &[LoopHandle<S>],
    stopper: &Stopper,
) -> io::Result<Begun> {
    let (accept, addresses) = listen.unwrap_or((Accept::EachLoop, &[]));
    let placement = match accept {
        Accept::EachLoop => Placement::RoundRobin,
        Accept::OneLoop(placement) => placement,
    };
    let is_shared = |address: &Address| accept == Accept::EachLoop && matches!(address, Address::Tcp(_));
    if threads.len() > 1 {
        for address in addresses.iter().filter(|address| is_shared(address)) {
            sys::require_free(address)?;
        }
    }
    let mut bound = Bound { addresses: addresses.to_vec(), files: Vec::new() };
    let mut listeners = Vec::new();
    for (index, thread) in threads.iter().enumerate() {
        let is_first = index == 0;
        let placer = if is_first && bound.addresses.iter().any(|address| !is_shared(address)) {
            Placer::over(handles.to_vec(), index, placement)
        } else {
            Placer::here()
        };
        let has = |address: &Address| is_first || is_shared(address);
        let as_listener = |address: &Address| {
            let shared = is_shared(address);
            Listen { address: address.clone(), share: shared && threads.len() > 1, keep: shared }
        };
        let listen = bound.addresses.iter().filter(|address| has(address)).map(as_listener).collect();
        let start = Start { placer, listen, stopper: stopper.clone() };
        thread.start.send(start).map_err(|_| gone())?;
        let listening = thread.listening.recv().map_err(|_| gone())??;
        if is_first {
            bound.addresses.clear();
        }
        let mut own = Vec::new();
        for (address, file, metrics) in listening {
            if is_first {
                bound.addresses.push(address);
            }
            bound.files.extend(file);
            own.push(metrics);
        }
        listeners.push(own);
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
    let join = sys::spawn(format!("linkpoll-{index}"), move || {
        let driver = match factory() {
            Ok(driver) => driver,
            Err(error) => {
                drop(tell_ready.send(Err(error)));
                return Ok(());
            }
        };
        let mut reactor = Reactor::new(driver, options, word, maker);
        let told = Ready { handle: reactor.handle(), system_calls: reactor.system_calls() };
        if options.slice.is_some()
            && let Err(_error) = sys::schedule(options.slice, 0)
        {
            told.handle.metrics.slice_refused.add(1);
            event!(WARN, error = %_error, "a loop's thread cannot have its slice");
        }
        drop(tell_ready.send(Ok(told)));
        let Ok(start) = started.recv() else { return Ok(()) };
        reactor.place_with(start.placer);
        let listened = start
            .listen
            .into_iter()
            .map(|Listen { address, share, keep }| {
                let (address, metrics) = reactor.listen_as(&address, share, keep)?;
                let file = SocketFile::at(&address);
                Ok((address, file, metrics))
            })
            .collect::<io::Result<Listening>>();
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
