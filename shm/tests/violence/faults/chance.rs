//! Faults by chance, under traffic: of this package's calls and of the core's.

use std::time::{Duration, Instant};

use linkpoll::faults::{Effect, Fault, Place as _, Plan, executed};
use linkpoll::reactor::Spin;
use linkpoll_conformance::isolated;
use linkpoll_shm::Site;
use nix::errno::Errno;

use crate::bed::{
    Holdings, Place, Random, dial, finish, finish_loops, loops_with, patient, payload, report, server_with,
    settled, until, variable,
};
use linkpoll::buffer::{Chain, Segment};

/// One call of so many fails, on the average.
const ONE_OF: u64 = 60;
/// What gets answered under each seed, however many connections it takes.
const BATCHES: u64 = 60;

/// All faults that loops survive.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::new().with(&Site::ALL).by_chance(seed, 1_000_000 / ONE_OF);
    for site in linkpoll::faults::Site::ALL {
        for &(fault, effect) in site.faults() {
            // A wait that fails is the end of a loop.
            if effect == Effect::Loop {
                plan = plan.sparing(site, fault);
            }
        }
    }
    // KERNEL: a socket, or a counter, that takes no doorbell has something in it already, and one that says that nobody reads
    // (EPIPE, ECONNRESET) has nobody who sleeps: to fail so for no reason would be to lose a doorbell.
    for site in [Site::Send, Site::SendDescriptors, Site::BellRing] {
        for errno in [Errno::EAGAIN, Errno::EPIPE, Errno::ECONNRESET] {
            let fault = Fault::Errno(errno);
            if site.faults().iter().any(|(known, _)| *known == fault) {
                plan = plan.sparing(site, fault);
            }
        }
    }
    plan
}

/// Calls through connections that break all the time. Answers how many have.
fn run(seed: u64) -> u64 {
    eprintln!("LINKPOLL_FAULT_SEED={seed}");
    let before = Holdings::now();
    let place = Place::new("chance");
    // What goes wrong with a watch is found out by the deadline.
    let mut hasty = patient();
    hasty.session.step = Duration::from_millis(300);
    let (server, _ends) = server_with(&place.address(), Spin::Never, hasty.clone());
    let own = loops_with(Spin::Never, hasty);
    let injected = plan(seed).inject();
    let mut random = Random(seed);
    let (mut broken, mut batches) = (0, 0);
    while batches < BATCHES {
        assert!(broken < 100 * BATCHES, "next to nothing is served");
        let Some(client) = dial(&own.dialer(), &place.address()) else {
            broken += 1;
            continue;
        };
        while batches < BATCHES && random.below(12) > 0 {
            let calls: Vec<_> = (0..1 + random.below(5))
                .map(|_| {
                    let request = payload(random.next(), [0, 1, 500, 5000, 40_000, 200_000][random.below(6)]);
                    (client.call(Chain::from(Segment::copy_of(&request))), request)
                })
                .collect();
            let mut is_broken = false;
            for (call, request) in calls {
                match call.wait_for(crate::bed::PATIENCE) {
                    Ok(mut reply) => {
                        assert!(reply.len() == request.len(), "the length of a reply");
                        assert!(reply.next(request.len()).expect("as many are there") == request);
                    }
                    Err(linkpoll::service::CallError::TimedOut) => panic!("a call without an end"),
                    Err(_) => is_broken = true,
                }
            }
            batches += 1;
            if is_broken {
                broken += 1;
                break;
            }
        }
        client.close();
    }
    drop(injected);
    settled(&server, 0);
    finish_loops(own);
    finish(server);
    before.restored("all is over");
    broken
}

/// With every sixtieth call failing by chance, whatever is answered is right byte by byte, no call stays without an end, and
/// nothing is left behind. Runs one seed after another for `LINKPOLL_FAULT_SECONDS` (default: 3), or the one of
/// `LINKPOLL_FAULT_SEED`.
#[test]
fn sessions_survive_faults_by_chance() {
    isolated(module_path!(), "sessions_survive_faults_by_chance", || {
        if let Some(seed) = variable("LINKPOLL_FAULT_SEED") {
            run(seed);
            return;
        }
        let limit = Duration::from_secs(variable("LINKPOLL_FAULT_SECONDS").unwrap_or(3));
        let begun = Instant::now();
        let first = u64::from(std::process::id()) << 16;
        let (mut seeds, mut broken) = (0, 0);
        while seeds < 3 || begun.elapsed() < limit {
            broken += run(first + seeds);
            seeds += 1;
        }
        let faults =
            Site::ALL.into_iter().flat_map(|site| site.faults().iter().map(move |it| executed(site, it.0)));
        let faults: u64 = faults.sum();
        report(
            "shm-faults-by-chance.txt",
            &format!("{seeds} seeds, {faults} faults, {broken} connections broken"),
        );
        until("some of it happened", || faults > 0 && broken > 0);
    });
}
