//! Faults by chance, under traffic.

use std::net::Shutdown;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use linkpoll::driver::epoll::Trigger;
use linkpoll::faults::{Effect, Fault, Place as _, Plan, Site, executed};
use linkpoll::net::{Accept, Address, Server};
use linkpoll::reactor::{ClosedBy, LoopMetrics, LoopOptions, Placement};
use linkpoll_conformance::isolated;
use nix::errno::Errno;

use crate::bed::{descriptors, loops};
use crate::client::{Client, Fate, PATIENCE, fate, payload, until};
use crate::echoing::{KINDS, serve};
use crate::matrix::is_possible;

/// One call of so many fails, on the average.
const ONE_OF: u64 = 40;
const CLIENTS: u64 = 6;
/// What each client gets answered, however many connections it takes.
const BATCHES: u64 = 30;

/// A seed for this run only; it is printed when the run fails.
fn fresh_seed() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs() << 20 | u64::from(now.subsec_micros()))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// All faults that a server survives.
fn plan(seed: u64, trigger: Trigger) -> Plan {
    let mut plan = Plan::new().by_chance(seed, 1_000_000 / ONE_OF);
    for site in Site::ALL {
        for &(fault, effect) in site.faults() {
            // KERNEL: a send that finds no room is followed by an edge when there is room; one that fails for no
            // reason is not.
            let sends = matches!(site, Site::Send | Site::SendVectored);
            let no_edge = trigger == Trigger::Edge && sends && fault == Fault::Errno(Errno::EAGAIN);
            if effect == Effect::Loop || no_edge || !is_possible(trigger, site, fault) {
                plan = plan.sparing(site, fault);
            }
        }
    }
    plan
}

/// Pseudo-random numbers, a different sequence for each `kind`.
fn numbers(kind: u64) -> impl FnMut(u64) -> u64 {
    let mut bytes = payload(kind, 1 << 16).into_iter().skip(1).cycle();
    move |below| {
        let word = (0..4).fold(0, |word, _| word << 8 | u64::from(bytes.next().unwrap_or(0)));
        word % below
    }
}

/// Asks again and again, on a fresh connection whenever one has ended. Answers how many have.
fn ask(address: &Address, kind: u64) -> u64 {
    const SIZES: [usize; 8] = [0, 1, 17, 500, 1000, 5000, 30_000, 300_000];
    let mut number = numbers(kind);
    let (mut ended, mut batches) = (0, 0);
    while batches < BATCHES {
        assert!(ended < 100 * BATCHES, "next to nothing is served");
        let mut client = Client::connect(address).expect("the kernel takes it");
        loop {
            let size = SIZES[usize::try_from(number(8)).expect("an index")];
            let message = payload(number(1 << 30), size);
            // Not more at a time than is received without being answered.
            let times = if size > 10_000 { 1 } else { 1 + number(8) };
            let asked = (0..times).try_for_each(|_| client.request(&message));
            let answered = asked.and_then(|()| (0..times).try_for_each(|_| client.expect(&message)));
            match fate(answered) {
                Fate::Served => batches += 1,
                Fate::Ended => break ended += 1,
            }
            if batches == BATCHES || number(10) == 0 {
                if number(2) == 0 && client.stream.shutdown(Shutdown::Write).is_ok() {
                    let _ = fate(client.drain());
                }
                break;
            }
        }
    }
    ended
}

/// No connection has ended in another way than it may.
fn judge(metrics: &LoopMetrics) {
    let ClosedBy { panicked, idle_expired, read_expired, write_expired, drain_expired, detached, .. } =
        metrics.closed_by.snapshot();
    let wrong = [panicked, idle_expired, read_expired, write_expired, drain_expired, detached];
    assert_eq!(wrong, [0; 6], "{}", metrics.snapshot());
}

/// A server under traffic, with the faults of this seed. Answers how many connections have ended by them.
fn run(seed: u64) -> u64 {
    eprintln!("LINKPOLL_FAULT_SEED={seed}");
    let before = descriptors();
    let trigger = if seed.is_multiple_of(2) { Trigger::Level } else { Trigger::Edge };
    let accept = match seed % 3 {
        0 => Accept::EachLoop,
        1 => Accept::OneLoop(Placement::RoundRobin),
        _ => Accept::OneLoop(Placement::LeastConnections),
    };
    let kind = KINDS[usize::try_from(seed / 2 % 4).expect("an index")];
    let (alive, over) = channel();
    let options = LoopOptions { linger_limit: Duration::from_millis(20), ..LoopOptions::default() };
    let builder = Server::builder().loops(2).trigger(trigger).accept(accept).options(options);
    let server = serve(kind, &builder, alive).expect("a server");

    let injected = plan(seed, trigger).inject();
    let address = server.address();
    let ended = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|index| scope.spawn(move || ask(address, seed ^ index << 40))).collect();
        clients.into_iter().map(|client| client.join().expect("every byte as it should be")).sum()
    });
    drop(injected);

    let metrics = || server.usage().iter().map(|usage| &usage.metrics);
    until("all connections are gone", || metrics().all(|metrics| metrics.connections() == 0));
    until("timers are disarmed", || metrics().all(|metrics| metrics.timers.get() == 0));
    until("blocks are given back", || metrics().all(|metrics| metrics.pool.in_use.get() <= 2 << 20));
    let mut client = Client::connect(address).expect("somebody listens");
    client.echo(&payload(seed, 100_000)).expect("the server is as good as new");
    drop(client);
    until("it is gone, too", || metrics().all(|metrics| metrics.connections() == 0));
    metrics().for_each(|metrics| judge(metrics));
    server.stopper().stop();
    server.join().expect("no loop is broken");
    assert_eq!(over.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "{kind:?}: threads go on");
    until("the threads of a pool end", || loops() == 0);
    assert_eq!(descriptors(), before, "{kind:?}: descriptors that are left");
    ended
}

/// With every fortieth call failing by chance, whatever is answered is right byte by byte, every connection that
/// ends does so for a reason, and nothing is left behind: whether a handler answers, a service on the loop or in a pool,
/// or threads with streams. Runs one seed after another for `LINKPOLL_FAULT_SECONDS` (default: 3), or the one of
/// `LINKPOLL_FAULT_SEED`.
#[test]
fn traffic_survives_faults_by_chance() {
    isolated(module_path!(), "traffic_survives_faults_by_chance", || {
        if let Some(seed) = variable("LINKPOLL_FAULT_SEED") {
            run(seed);
            return;
        }
        let limit = Duration::from_secs(variable("LINKPOLL_FAULT_SECONDS").unwrap_or(3));
        let (begun, first) = (Instant::now(), fresh_seed());
        let (mut seeds, mut ended) = (0, 0);
        // At the least, all kinds with both triggers, and every way of accepting.
        while seeds < 8 || begun.elapsed() < limit {
            ended += run(first + seeds);
            seeds += 1;
        }
        let faults =
            Site::ALL.into_iter().flat_map(|site| site.faults().iter().map(move |it| executed(site, it.0)));
        let faults: u64 = faults.sum();
        eprintln!("{seeds} seeds, {faults} faults, {ended} connections ended");
        assert!(faults > 0 && ended > 0);
    });
}
