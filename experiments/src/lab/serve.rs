//! `lab serve`: one transport behind a listening socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use linkpoll::driver::{Driver, epoll};
use linkpoll::net::{Accept, Address, Server, ServerBuilder, Usage};
use linkpoll::reactor::{Placement, Spin};
use linkpoll::service::{Dispatch, Frame, FrameOptions, Framed, MakeHandler, Peer};
use linkpoll_experiments::DriverOptions;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::address::Address as Listen;
use crate::affinity;
use crate::cli::{self, Protocol, ServeArguments, ServerSpin, Trigger};
use crate::control::{self, Stats, Syscalls};
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
    let server = bind(arguments, &address, requests.clone(), where_to.clone())
        .map_err(LabError::system(format!("listen on {address}")))?;
    if arguments.control {
        let usage = server.usage().to_vec();
        control::answer(move || stats(&usage, &requests)).map_err(LabError::system("start a thread"))?;
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
    dispatch: Option<Dispatch>,
) -> std::io::Result<Server> {
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
    let mut builder: ServerBuilder = Server::builder().spin(spin).accept(accept);
    if let Some(loops) = arguments.loops {
        builder = builder.loops(usize::from(loops));
    }
    match arguments.transport.over_sockets() {
        Some(transport) => {
            let options = DriverOptions { trigger, ..DriverOptions::default() };
            bind_on(builder, arguments, address, requests, dispatch, move |_| transport.driver(&options))
        }
        #[cfg(feature = "shm")]
        None => bind_on(builder, arguments, address, requests, dispatch, |_| {
            linkpoll_shm::ShmDriver::new(linkpoll_shm::ShmOptions::default())
        }),
        #[cfg(not(feature = "shm"))]
        None => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

fn bind_on<D: Driver + 'static>(
    builder: ServerBuilder,
    arguments: &ServeArguments,
    address: &Address,
    requests: Requests,
    dispatch: Option<Dispatch>,
    factory: impl Fn(usize) -> std::io::Result<D> + Send + Sync + 'static,
) -> std::io::Result<Server> {
    match (arguments.protocol, dispatch) {
        (Protocol::Frame, None) => {
            builder.bind_with(address, frame(arguments.max_message, requests), factory)
        }
        (Protocol::Frame, Some(dispatch)) => {
            builder.bind_with(address, service::maker(arguments, dispatch), factory)
        }
    }
}

/// Decodes each message and encodes a fresh reply of the same bytes, in memory of its own.
fn frame(max_payload: u32, requests: Requests) -> impl MakeHandler {
    let frame = Frame::new(FrameOptions { max_payload });
    move |_: &Peer| {
        let count = requests.of_this_loop();
        Framed::new(frame, move |request, reply| {
            // One writer, so no read-modify-write: this loop's thread.
            // ORDERING: Relaxed: only the value is of interest.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            for piece in request.pieces() {
                reply.write(piece)?;
            }
            Ok(())
        })
    }
}

fn stats(usage: &[Usage], requests: &Requests) -> Stats {
    let mut syscalls = Syscalls::default();
    // A service counts its messages by itself.
    let mut messages = 0;
    for usage in usage {
        messages += usage.metrics.messages.get();
        let calls = &usage.system_calls;
        syscalls.wait += calls.wait.get();
        syscalls.receive += calls.receive.get();
        syscalls.send += calls.send.get();
        syscalls.other += calls.accept.get() + calls.control.get() + calls.other.get();
    }
    Stats { requests: Some(requests.total() + messages), syscalls }
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
