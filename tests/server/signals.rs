//! Signals that interrupt every blocking call.
#![expect(unsafe_code, reason = "a handler is installed, and signals are sent to threads")]
#![expect(clippy::disallowed_types, reason = "a handler of signals finds its words in statics")]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use linkpoll::driver::epoll::Trigger;
use linkpoll::net::Accept;
use linkpoll::reactor::Placement;
use linkpoll_conformance::isolated;

use crate::client::{Client, any_port, echo};
use crate::drivers::Server;

static HANDLED: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicBool = AtomicBool::new(false);

extern "C" fn count(_signal: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Has SIGUSR1 counted, without `SA_RESTART`: a call that it interrupts fails with `EINTR` (signal(7)).
fn install() {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask, and a handler that is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as *const () as usize;
    // SAFETY: the handler touches nothing but an atomic, so it may run at any moment.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Interrupts the loops' threads, those that are just starting too, until it is told to stop.
fn storm() {
    let process = std::process::id();
    // ORDERING: Relaxed, here and above: it is a test, and the joins order what it looks at.
    while !OVER.load(Ordering::Relaxed) {
        for task in fs::read_dir("/proc/self/task").expect("the threads of this process").flatten() {
            let is_loop =
                fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("linkpoll-"));
            let thread: Option<u32> = task.file_name().to_string_lossy().parse().ok();
            let Some(thread) = thread.filter(|_| is_loop) else { continue };
            for _ in 0..20 {
                // A thread that is gone meanwhile gets none; no number of a thread is used again so soon.
                // SAFETY: no memory is passed.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
            }
        }
    }
}

/// A storm of signals during every call of the loops, from their first to their last: nobody notices.
#[test]
fn a_storm_of_signals_is_not_noticed() {
    isolated(module_path!(), "a_storm_of_signals_is_not_noticed", || {
        install();
        let storm = thread::spawn(storm);
        for trigger in [Trigger::Level, Trigger::Edge] {
            for accept in [Accept::EachLoop, Accept::OneLoop(Placement::RoundRobin)] {
                let handled = HANDLED.load(Ordering::Relaxed);
                let server =
                    Server::builder().loops(2).trigger(trigger).accept(accept).bind(&any_port(), echo);
                let server = server.expect("a server");
                thread::scope(|scope| {
                    for index in 0..4 {
                        let server = &server;
                        scope.spawn(move || {
                            // For as long as it takes to be hit often enough.
                            while HANDLED.load(Ordering::Relaxed) < handled + 500 {
                                let mut client = Client::connect(server.address());
                                for size in [0, 10, 1000, 70_000, 1_000_000] {
                                    let payload: Vec<u8> = (0..size)
                                        .map(|at: usize| u8::try_from(at % 251).unwrap_or(0) ^ index)
                                        .collect();
                                    assert!(client.echoes(&payload), "{size} bytes");
                                }
                                client.end();
                                assert!(client.read_to_end().is_empty());
                            }
                        });
                    }
                });
                server.stopper().stop();
                server.join().expect("an orderly end");
            }
        }
        OVER.store(true, Ordering::Relaxed);
        storm.join().expect("it ends");
    });
}
