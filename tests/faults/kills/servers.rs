//! A server is killed under load: every call that was under way ends once, in a right reply or in an error.

use std::thread;
use std::time::Duration;

use linkpoll::faults::{Site, Step};
use linkpoll::net::Address;
use linkpoll_conformance::isolated;

use super::victim::{Victim, order};
use super::victims::ADDRESS;
use super::{BY_CHANCE, BY_ORDER, Calls, Hits};
use crate::bed::{QUIT, any_port, descriptors};
use crate::client::{Client, Fate, fate, payload};

/// Where a server is killed: about to make a call and behind it, at every call that a connection's life takes, and in
/// the middle of a message.
fn steps() -> Vec<Step> {
    const SITES: [Site; 10] = [
        Site::Accept,
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
    each.chain([Step::Short(Site::Receive), Step::Short(Site::Send), Step::Short(Site::SendVectored)])
        .collect()
}

/// Calls a server until it is gone.
fn load(address: &Address, kind: u64, most: usize) -> Calls {
    let mut calls = Calls::default();
    let small = payload(kind, 500);
    let large = payload(kind, most);
    // Once nobody listens, nobody is left.
    while let Ok(mut client) = Client::connect(address) {
        client.receive_little();
        for (message, times) in [(&small, 5), (&large, 1), (&vec![QUIT; 100], 1)] {
            let mut replied = 0;
            let asked = (0..times).try_for_each(|_| client.request(message));
            let outcome = asked.and_then(|()| {
                (0..times).try_for_each(|_| {
                    client.expect(message)?;
                    replied += 1;
                    Ok(())
                })
            });
            calls.made += times;
            calls.replied += replied;
            if fate(outcome) == Fate::Ended {
                calls.failed += times - replied;
                break;
            }
        }
        // Behind the last message the server closes.
        if client.drain().is_err() {
            break;
        }
    }
    calls
}

/// Runs a server under load until it dies. Answers the step in which it did, if it was killed by chance.
fn kill(number: u64, step: Option<(Step, u64)>, address: &Address) -> (Option<String>, Calls, Address) {
    let mut variables = step.map(|(step, survived)| order(step, survived)).unwrap_or_default();
    variables.push((ADDRESS, address.to_string()));
    let victim = Victim::run("a_server", number, &variables);
    let address = victim.hear("listening at").expect("it listens");
    let address = Address::resolve(&address).expect("an address");
    // A reply for which there is no room at once is rare otherwise.
    let waits = step.is_some_and(|(step, _)| {
        matches!(step, Step::In(Site::EpollModify) | Step::After(Site::EpollModify))
    });
    let most = if waits { 5 << 20 } else { 100_000 };
    let (hit, calls) = thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|kind| {
                scope.spawn({
                    let address = &address;
                    move || load(address, kind, most)
                })
            })
            .collect();
        let hit = if step.is_some() {
            victim.wait();
            None
        } else {
            thread::sleep(Duration::from_micros(number * 7919 % 20_000));
            Some(victim.kill())
        };
        let calls: Vec<Calls> =
            clients.into_iter().map(|client| client.join().expect("right replies")).collect();
        (hit, calls)
    });
    (hit, calls.into_iter().sum(), address)
}

/// A server that is killed in any step of its work, or at any time: each call that was under way ends once, in the
/// right reply or in an error; the next server is served at the same address; and the clients have lost nothing.
#[test]
fn a_server_may_be_killed_in_any_step() {
    isolated(module_path!(), "a_server_may_be_killed_in_any_step", || {
        let before = descriptors();
        let mut hits = Hits::default();
        let mut number = 0;
        let mut all = Calls::default();
        let mut count = |calls: Calls| {
            assert_eq!(calls.made, calls.replied + calls.failed, "{calls:?}");
            all += calls;
        };
        for step in steps() {
            for round in 0..BY_ORDER {
                number += 1;
                // What is done while the server starts is survived.
                let (_, calls, _) = kill(number, Some((step, 4 + round)), &any_port());
                count(calls);
                hits.by_order(&step.to_string());
            }
        }
        for _ in 0..BY_CHANCE {
            number += 1;
            let (step, calls, _) = kill(number, None, &any_port());
            count(calls);
            hits.by_chance(&step.expect("it was killed by chance"));
        }
        // A server comes again where its predecessor was.
        let (_, _, address) = kill(number + 1, None, &any_port());
        let (_, _, again) = kill(number + 2, None, &address);
        assert_eq!(again, address);
        hits.report("kills-of-servers.md");
        eprintln!("{all:?}");
        assert!(all.replied > 0 && all.failed > 0 && hits.total_by_chance() == BY_CHANCE);
        assert_eq!(descriptors(), before, "descriptors that are left");
    });
}
