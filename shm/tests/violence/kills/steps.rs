//! Processes that kill themselves in a named step: at every call of the kernel that a session takes, and in every moment
//! between two stores that its peer could see.

use std::os::unix::net::UnixListener;

use linkpoll::faults::{KILL, Step};
use linkpoll::reactor::Spin;
use linkpoll_conformance::isolated;
use linkpoll_shm::Site;

use super::bare_peers::{is_death as is_death_of_handshake, survive};
use super::calls::is_death;
use super::victim::Victim;
use super::victims::{PATTERN, ROLE};
use crate::bare::Bare;
use crate::bed::{
    Holdings, Place, dial, echo, finish, finish_loops, loops, named, payload, report, server, settled, until,
};

/// How often each step is hit, in each part.
const ROUNDS: u64 = 10;

/// Steps that a client of the library comes to, with large messages and small ones.
fn steps() -> Vec<Step<Site>> {
    const CALLS: [Site; 15] = [
        Site::MemoryCreate,
        Site::MemoryAllocate,
        Site::MemoryMap,
        Site::PeerMap,
        Site::MemoryAdvise,
        Site::SealsAdd,
        Site::SealsRead,
        Site::FileStatus,
        Site::SystemStatus,
        Site::Random,
        Site::Receive,
        Site::Send,
        Site::SendDescriptors,
        Site::Descriptors,
        Site::PeerCredentials,
    ];
    let calls = CALLS.into_iter().flat_map(|site| [Step::In(site), Step::After(site)]);
    calls.chain(MOMENTS.map(Step::In)).collect()
}

/// Moments in which no call is made.
const MOMENTS: [Site; 7] = [
    Site::RecordsWritten,
    Site::CounterPublished,
    Site::DoorbellDecided,
    Site::ThresholdStored,
    Site::LoanGiven,
    Site::LoanRead,
    Site::TicketsWritten,
];

/// Whether a session comes to a step again and again.
fn is_often(step: Step<Site>) -> bool {
    let (Step::In(site) | Step::After(site) | Step::Short(site)) = step;
    MOMENTS.contains(&site) || matches!(site, Site::Receive | Site::Send)
}

fn order(step: Step<Site>, survived: u64) -> Vec<(&'static str, String)> {
    vec![(KILL, format!("{step} {survived}"))]
}

/// A client that dies in any step costs its own session. Others do not notice, and nothing is left.
#[test]
fn a_client_may_die_in_any_step_of_a_session() {
    isolated(module_path!(), "a_client_may_die_in_any_step_of_a_session", || {
        let (before, names) = (Holdings::now(), named());
        let place = Place::new("client-steps");
        let (server, ends) = server(&place.address(), Spin::Never);
        let own = loops(Spin::Never);
        let bystander = dial(&own.dialer(), &place.address()).expect("the server is there");
        echo(&bystander, &payload(1, 100)).expect("it is served");
        let standing = Holdings::now();
        let mut deaths = 0;
        for step in steps() {
            for round in 0..ROUNDS {
                deaths += 1;
                // Each session comes to a step of its beginning once.
                let order = order(step, if is_often(step) { round * 3 } else { round / 3 });
                let mut victim = Victim::run("kills::victims::a_caller", deaths, &place.text(), &order);
                until(&format!("it comes to {step}"), || victim.is_dead());
                victim.bury();
            }
            echo(&bystander, &payload(deaths, 3000)).expect("a bystander does not notice");
            settled(&server, 1);
            standing.restored(&step.to_string());
            ends.try_iter().for_each(|why| assert!(is_death(&why), "{step}: {why:?}"));
        }
        report("shm-kills-by-step-clients.txt", &format!("{deaths} deaths, {ROUNDS} in each step"));
        bystander.close();
        drop(bystander);
        settled(&server, 0);
        finish(server);
        finish_loops(own);
        before.restored("all is over");
        assert_eq!(named(), names, "names in shared memory");
    });
}

/// One side of a session without a loop dies in any step, in either role: what it had published is received.
#[test]
fn what_was_published_before_a_death_in_any_step_is_received() {
    isolated(module_path!(), "what_was_published_before_a_death_in_any_step_is_received", || {
        let before = Holdings::now();
        let pattern = &payload(7, PATTERN);
        let (mut deaths, mut sessions) = (0, 0);
        for step in steps() {
            for round in 0..ROUNDS {
                deaths += 1;
                let place = Place::new("steps");
                let listens = round % 2 == 0;
                let listener = (!listens).then(|| UnixListener::bind(place.path()).expect("a listener"));
                // A handshake comes to each of its steps once.
                let mut variables = order(step, if is_often(step) { round / 2 } else { 0 });
                variables.push((ROLE, if listens { "listens" } else { "connects" }.to_owned()));
                let mut victim =
                    Victim::run("kills::victims::a_bare_peer", deaths, &place.text(), &variables);
                victim.hear("at work");
                let survived = std::thread::scope(|scope| {
                    let survivor = scope.spawn(|| {
                        let bare = match &listener {
                            Some(listener) => Bare::accept(listener),
                            None => Bare::connect(place.path()),
                        };
                        match bare {
                            Ok(bare) => Some(survive(bare, pattern).0),
                            Err(error) if is_death_of_handshake(&error) => None,
                            Err(error) => panic!("{step}: {error}"),
                        }
                    });
                    until(&format!("it comes to {step}"), || victim.is_dead());
                    if listener.is_some() {
                        drop(std::os::unix::net::UnixStream::connect(place.path()));
                    }
                    survivor.join().expect("bytes as they should be")
                });
                drop(listener);
                let published = victim.bury();
                if let Some(received) = survived {
                    assert!(received >= published, "{step}: {published} published, {received} received");
                    sessions += 1;
                }
            }
            before.restored(&step.to_string());
        }
        report(
            "shm-kills-by-step.txt",
            &format!("{deaths} deaths, {sessions} in a session, {ROUNDS} in each step"),
        );
    });
}
