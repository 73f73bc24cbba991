//! Clients are killed under load: their server loses nothing but their connections.

use std::thread;
use std::time::Duration;

use linkpoll::conn::CloseReason;
use linkpoll::driver::epoll::Trigger;
use linkpoll_conformance::isolated;

use super::victim::Victim;
use super::victims::{ADDRESS, CLIENT_KILL, CLIENT_STEPS};
use super::{BY_CHANCE, BY_ORDER, Hits};
use crate::bed::Bed;

/// Runs a client against a server until it dies. Answers its last step, if it was killed by chance.
fn kill(bed: &mut Bed, number: u64, step: Option<(usize, u64)>) -> Option<usize> {
    let mut variables = vec![(ADDRESS, bed.server.address().to_string())];
    variables.extend(step.map(|(step, survived)| (CLIENT_KILL, format!("{step} {survived}"))));
    let mut victim = Victim::run("a_client", number, &variables);
    victim.hear("at work").expect("it begins");
    let hit = match step {
        Some(_) => {
            while !victim.is_dead() {
                bed.echo();
            }
            victim.wait();
            None
        }
        None => {
            thread::sleep(Duration::from_micros(number * 7919 % 10_000));
            bed.echo();
            Some(usize::from(victim.kill()))
        }
    };
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
    hit
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
                kill(&mut bed, number, Some((step, round)));
                hits.by_order(name);
            }
        }
        for _ in 0..BY_CHANCE {
            number += 1;
            let step = kill(&mut bed, number, None).expect("it was killed by chance");
            hits.by_chance(CLIENT_STEPS[step]);
        }
        hits.report("kills-of-clients.md");
        assert_eq!(hits.total_by_chance(), BY_CHANCE);
        bed.settled();
        bed.finish();
    });
}
