//! Faults while connections are served: what makes each call happen.

use std::io::Write as _;

use linkpoll::conn::CloseReason;
use linkpoll::driver::epoll::Trigger;
use linkpoll::faults::{Effect, Fault, Plan, Site, executed};
use linkpoll_conformance::isolated;
use nix::errno::Errno;

use crate::bed::{Bed, PAUSE, QUIT, WOKEN};
use crate::client::{Client, Fate, fate, payload, until};

/// Larger than what two sockets take in, with what a loop receives at once.
const LARGE: usize = 6 << 20;

/// Lets `fault` happen once, in a call for one of some connections, and answers what has become of them.
type Provocation = fn(&mut Bed, Plan, Site, Fault) -> Vec<Fate>;

/// How a site's call is brought about on a server that is up.
pub(crate) fn provocation(site: Site) -> Option<Provocation> {
    Some(match site {
        Site::Accept | Site::EpollAdd => come,
        Site::Receive | Site::Send | Site::EpollWait => ask,
        Site::ReceiveVectored => ask_in_part,
        Site::SendVectored => ask_for_much,
        Site::EpollModify | Site::Map => ask_for_more_than_fits,
        Site::EpollDelete => go_while_paused,
        Site::EventFdWrite | Site::EventFdRead => wake,
        Site::Shutdown | Site::Close => leave,
        _ => return None,
    })
}

fn happened(site: Site, fault: Fault, before: u64) -> bool {
    executed(site, fault) > before
}

/// A connection comes, and asks.
fn come(bed: &mut Bed, plan: Plan, _: Site, _: Fault) -> Vec<Fate> {
    let _injected = plan.inject();
    let mut victim = Client::connect(bed.server.address()).expect("the kernel takes it");
    vec![fate(victim.echo(&payload(2, 3000)))]
}

/// A connection asks.
fn ask(bed: &mut Bed, plan: Plan, site: Site, fault: Fault) -> Vec<Fate> {
    let mut victim = bed.client();
    let (_injected, before) = (plan.inject(), executed(site, fault));
    let asked = victim.echo(&payload(3, 1000)).and_then(|()| victim.echo(&payload(4, 5000)));
    until("it happens", || happened(site, fault, before));
    vec![fate(asked)]
}

/// Connections ask, but not all at once. The parts that wait fill the block that is received into, until a receive
/// runs over into another one.
fn ask_in_part(bed: &mut Bed, plan: Plan, site: Site, fault: Fault) -> Vec<Fate> {
    const PART: usize = 10_000;
    let message = payload(5, PART + 2000);
    let (_injected, before) = (plan.inject(), executed(site, fault));
    let (mut victims, mut fates) = (Vec::new(), Vec::new());
    while !happened(site, fault, before) {
        assert!(victims.len() < 200, "it does not happen");
        let mut victim = Client::connect(bed.server.address()).expect("somebody listens");
        if fate(victim.echo(&payload(1, 100))) == Fate::Ended {
            fates.push(Fate::Ended);
            continue;
        }
        let received = bed.usage().metrics.received.get();
        let header = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        victim.stream.write_all(&[&header, &message[..PART]].concat()).expect("it is open");
        victims.push(victim);
        let metrics = &bed.usage().metrics;
        let whole = (4 + PART) as u64;
        until("the part is received, or its receiver broken", || {
            metrics.received.get() >= received + whole || metrics.closed_by.broken.get() > 0
        });
    }
    let finish = |mut victim: Client| {
        fate(victim.stream.write_all(&message[PART..]).and_then(|()| victim.expect(&message)))
    };
    fates.extend(victims.into_iter().map(finish));
    fates
}

/// A connection asks for a reply that lies in many blocks.
fn ask_for_much(bed: &mut Bed, plan: Plan, _: Site, _: Fault) -> Vec<Fate> {
    let mut victim = bed.client();
    let _injected = plan.inject();
    vec![fate(victim.echo(&payload(6, 1 << 20)))]
}

/// A connection asks for more than it can take in at once, and takes it only when the fault has happened.
fn ask_for_more_than_fits(bed: &mut Bed, plan: Plan, site: Site, fault: Fault) -> Vec<Fate> {
    let mut victim = bed.client();
    victim.receive_little();
    let message = payload(7, LARGE);
    let (_injected, before) = (plan.inject(), executed(site, fault));
    let asked = victim.request(&message);
    until("it happens", || happened(site, fault, before));
    vec![fate(asked.and_then(|()| victim.expect(&message)))]
}

/// A connection is paused and then reset: there is nothing that anybody waits for any more.
fn go_while_paused(bed: &mut Bed, plan: Plan, site: Site, fault: Fault) -> Vec<Fate> {
    let mut victim = Client::connect(bed.server.address()).expect("somebody listens");
    victim.echo(&[PAUSE; 10]).expect("it is served");
    until("it is paused", || bed.usage().metrics.pauses.get() == 1);
    let (_injected, before) = (plan.inject(), executed(site, fault));
    victim.reset();
    until("it happens", || happened(site, fault, before));
    vec![Fate::Ended]
}

/// Another thread wakes the handler of a connection.
fn wake(bed: &mut Bed, plan: Plan, site: Site, fault: Fault) -> Vec<Fate> {
    // A read follows a write that has found the counter full.
    let plan = match site {
        Site::EventFdRead => plan.fail(Site::EventFdWrite, Fault::Errno(Errno::EAGAIN), 0, 1),
        _ => plan,
    };
    let mut victim = bed.client();
    let handle = bed.handles.recv().expect("a handle");
    let (_injected, before) = (plan.inject(), executed(site, fault));
    // A bell is rung only for a loop that sleeps.
    while !happened(site, fault, before) {
        handle.wake();
        victim.expect(WOKEN).expect("it was woken");
    }
    vec![fate(victim.echo(&payload(8, 1000)))]
}

/// A connection is closed by the server.
fn leave(bed: &mut Bed, plan: Plan, site: Site, fault: Fault) -> Vec<Fate> {
    let mut victim = bed.client();
    let (_injected, before) = (plan.inject(), executed(site, fault));
    let asked = victim.echo(&[QUIT; 10]);
    let left = asked.and_then(|()| victim.drain());
    drop(victim);
    until("it happens", || happened(site, fault, before));
    vec![fate(left)]
}

/// One fault while connections are served. Answers what has come of it, in words.
pub(crate) fn check(trigger: Trigger, site: Site, fault: Fault, effect: Effect) -> String {
    let provoke = provocation(site).expect("a site on the way of a byte");
    let mut bed = Bed::new(trigger);
    bed.undisturbed();
    let plan = Plan::new().fail(site, fault, 0, 1);
    let plan = if matches!(site, Site::EventFdWrite | Site::EventFdRead) { plan } else { plan.in_loops() };
    let before = executed(site, fault);
    if effect == Effect::Loop {
        return breaks(bed, plan, fault);
    }
    let fates = provoke(&mut bed, plan, site, fault);
    assert_eq!(executed(site, fault), before + 1, "it happens once");
    let ended = fates.iter().filter(|fate| **fate == Fate::Ended).count();
    bed.settled();
    let why: Vec<CloseReason> = bed.ends.try_iter().filter(|why| !is_ordinary(why)).collect();
    let rests = bed.usage().metrics.accept_rests.get();
    let outcome = match effect {
        Effect::Nothing => {
            assert_eq!((ended, why.len(), rests), (0, 0, 0), "{why:?}");
            "nobody notices".to_owned()
        }
        Effect::Rest => {
            assert_eq!((ended, why.len(), rests), (0, 0, 1), "{why:?}");
            "the listener rests, then goes on".to_owned()
        }
        _ => {
            assert!(ended <= 1 && why.len() <= 1 && rests == 0, "{fates:?} {why:?}");
            match (site, why.first()) {
                (Site::EpollAdd, None) => {
                    assert_eq!(ended, 1);
                    "the new connection is closed".to_owned()
                }
                (Site::Map, Some(why @ (CloseReason::Broken(_) | CloseReason::Aborted(_)))) => {
                    format!("one connection ends: {why}")
                }
                (_, Some(why @ CloseReason::Broken(error))) => {
                    let Fault::Errno(errno) = fault else { panic!("a short call breaks nothing") };
                    assert_eq!(error.raw_os_error(), Some(errno as i32));
                    format!("one connection ends: {why}")
                }
                (_, other) => panic!("a typed error is missing: {other:?}"),
            }
        }
    };
    bed.finish();
    outcome
}

/// How a connection ends that nothing has happened to.
fn is_ordinary(why: &CloseReason) -> bool {
    matches!(why, CloseReason::PeerEnded | CloseReason::Finished)
}

/// The loop can no longer wait.
fn breaks(bed: Bed, plan: Plan, fault: Fault) -> String {
    let Fault::Errno(errno) = fault else { panic!("a short call breaks nothing") };
    let mut victim = bed.client();
    let _injected = plan.inject();
    // The reply may come or not: the loop ends behind it.
    drop(victim.echo(&payload(9, 10)));
    drop(victim);
    bed.broken(errno as i32).expect("connections end in an orderly way");
    format!("the server ends with {errno:?}; every handler is told")
}

/// A listener that is to rest, and one that is to go on, may find that its watch cannot be changed: it tries again, and
/// the server goes on.
#[test]
fn a_listener_survives_a_watch_that_cannot_be_changed() {
    isolated(module_path!(), "a_listener_survives_a_watch_that_cannot_be_changed", || {
        // The first change lets it rest, the second lets it go on.
        for (nth, times) in [(0, 1), (1, 1), (0, 5), (1, 3)] {
            let mut bed = Bed::new(Trigger::Level);
            let injected = Plan::new()
                .in_loops()
                .fail(Site::Accept, Fault::Errno(Errno::EMFILE), 0, 1)
                .fail(Site::EpollModify, Fault::Errno(Errno::ENOMEM), nth, times)
                .inject();
            let mut client = Client::connect(bed.server.address()).expect("the kernel takes it");
            client.echo(&payload(1, 100)).expect("it is served, if late");
            assert_eq!(
                injected.calls(Site::Accept),
                3,
                "one that fails, one that does not, one that finds nothing"
            );
            assert!(injected.calls(Site::EpollModify) > nth + times);
            drop((injected, client));
            bed.settled();
            bed.finish();
        }
    });
}
