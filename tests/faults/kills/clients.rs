//! Clients are killed under load: their server loses nothing but their connections.
//!
//! Two kinds of clients: sockets of the standard library, which make every move of their own, and the library's.

use std::thread;
use std::time::Duration;

use linkpoll::conn::CloseReason;
use linkpoll::driver::epoll::Trigger;
use linkpoll::faults::{Site, Step};
use linkpoll_conformance::isolated;

use super::victim::{Victim, order};
use super::victims::{ADDRESS, CLIENT_KILL, CLIENT_STEPS};
use super::{BY_CHANCE, BY_ORDER, Hits};
use crate::bed::Bed;

/// Runs a client against a server until it dies by its order.
fn by_order(bed: &mut Bed, client: &str, number: u64, mut order: Vec<(&str, String)>) {
    order.push((ADDRESS, bed.server.address().to_string()));
    let mut victim = Victim::run(client, number, &order);
    victim.hear("at work").expect("it begins");
    while !victim.is_dead() {
        bed.echo();
    }
    victim.wait();
    gone(bed);
}

/// Runs a client against a server, and kills it some time. Answers its last step.
fn by_chance(bed: &mut Bed, client: &str, number: u64) -> String {
    let victim = Victim::run(client, number, &[(ADDRESS, bed.server.address().to_string())]);
    victim.hear("at work").expect("it begins");
    thread::sleep(Duration::from_micros(number * 7919 % 10_000));
    bed.echo();
    let step = victim.kill();
    gone(bed);
    step
}

/// Its connections have ended, for a reason.
fn gone(bed: &Bed) {
    bed.gone();
    for why in bed.ends.try_iter() {
        let is_typed = match &why {
            CloseReason::PeerEnded => true,
            CloseReason::Broken(error) => {
                matches!(error.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE))
            }
            _ => false,
        };
        assert!(is_typed, "{why:?}");
    }
}

/// A client that is killed in any step, or at any time, costs its own connection, which ends for a reason. The others
/// do not notice, and nothing is left behind.
#[test]
fn a_client_may_be_killed_in_any_step() {
    isolated(module_path!(), "a_client_may_be_killed_in_any_step", || {
        let mut bed = Bed::new(Trigger::Level);
        let mut hits = Hits::default();
        let mut number = 10_000;
        for (step, name) in CLIENT_STEPS.iter().enumerate().skip(1) {
            for round in 0..BY_ORDER {
                number += 1;
                by_order(&mut bed, "a_client", number, vec![(CLIENT_KILL, format!("{step} {round}"))]);
                hits.by_order(name);
            }
        }
        for _ in 0..BY_CHANCE {
            number += 1;
            let step = by_chance(&mut bed, "a_client", number);
            hits.by_chance(&step);
        }
        hits.report("kills-of-clients.md");
        assert_eq!(hits.total_by_chance(), BY_CHANCE);
        bed.settled();
        bed.finish();
    });
}

/// Where a client of the library is killed: about to make a call and behind it, at every call that dialling, calling and
/// closing take, and in the middle of a message.
fn steps() -> impl Iterator<Item = Step> {
    const SITES: [Site; 11] = [
        Site::Connect,
        Site::ConnectResult,
        Site::EpollAdd,
        Site::EpollModify,
        Site::EpollWait,
        Site::EventFdWrite,
        Site::Receive,
        Site::Send,
        Site::SendVectored,
        Site::Shutdown,
        Site::Close,
    ];
    let each = SITES.into_iter().flat_map(|site| [Step::In(site), Step::After(site)]);
    each.chain([Site::Receive, Site::Send, Site::SendVectored].map(Step::Short))
}

/// As `a_client_may_be_killed_in_any_step`, for a client that dials and calls through the library.
#[test]
fn a_caller_may_be_killed_in_any_step() {
    isolated(module_path!(), "a_caller_may_be_killed_in_any_step", || {
        let mut bed = Bed::new(Trigger::Edge);
        let mut hits = Hits::default();
        let mut number = 20_000;
        for step in steps() {
            for round in 0..BY_ORDER {
                number += 1;
                // What is done while its loop starts is survived.
                by_order(&mut bed, "a_caller", number, order(step, 2 + round));
                hits.by_order(&step.to_string());
            }
        }
        for _ in 0..BY_CHANCE {
            number += 1;
            let step = by_chance(&mut bed, "a_caller", number);
            hits.by_chance(&step);
        }
        hits.report("kills-of-callers.md");
        assert_eq!(hits.total_by_chance(), BY_CHANCE);
        bed.settled();
        bed.finish();
    });
}
