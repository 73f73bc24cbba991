//! Peers that mean harm, at full speed, under traffic.
//!
//! The attacker is another process (`attacker.rs`). Its server has honest clients, too, of which each verifies every reply.

pub(crate) mod attacker;

use std::thread;
use std::time::{Duration, Instant};

use linkpoll::conn::CloseReason;
use linkpoll::reactor::Spin;
use linkpoll_conformance::isolated;
use linkpoll_shm::handshake::ask_statistics;

use crate::bed::{
    Holdings, PATIENCE, Place, dial, echo, finish, finish_loops, loops, payload, report, server, settled,
    until, variable,
};
use crate::kills::calls::quantiles;
use crate::kills::victim::Victim;
use attacker::{STRATEGY, strategies};

/// How long attackers go on, unless `LINKPOLL_ATTACK_SECONDS` says otherwise.
const SECONDS: u64 = 6;

/// What the server has found its peers to have done, each kind with how often.
fn violations(place: &Place) -> Vec<(String, u64)> {
    let text = ask_statistics(place.path(), PATIENCE).expect("the server answers");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let counts = lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    counts.filter(|(name, count)| name.starts_with("violation") && *count > 0).collect()
}

/// Calls an honest client makes while an attack goes on. Answers how long each has taken.
fn call_until(end: Instant, mut call: impl FnMut(u64)) -> Vec<Duration> {
    let mut times = Vec::new();
    // At the least one, also if the attack is over before.
    while times.is_empty() || Instant::now() < end {
        let begun = Instant::now();
        call(times.len() as u64);
        times.push(begun.elapsed());
    }
    times
}

/// The processor time that the server's loop has used.
fn loop_time(thread: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("a thread");
    let nanoseconds = stat.split(' ').next().and_then(|text| text.parse().ok()).expect("a time");
    Duration::from_nanos(nanoseconds)
}

fn loop_thread() -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process").flatten();
    let is_loop = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("linkpoll-"))
    };
    let found = tasks.map(|task| task.path()).find(|path| is_loop(path)).expect("a loop");
    found.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number")
}

/// Whatever attackers write, and wherever: their own sessions end for a reason or go on, the server's other clients get
/// every reply right and in time, and nothing is left.
#[test]
fn attackers_cost_their_own_sessions() {
    isolated(module_path!(), "attackers_cost_their_own_sessions", || {
        let before = Holdings::now();
        let place = Place::new("attacked");
        let (server, ends) = server(&place.address(), Spin::Never);
        let own = loops(Spin::Never);
        let seconds = variable("LINKPOLL_ATTACK_SECONDS").unwrap_or(SECONDS);
        let seed = variable("LINKPOLL_ATTACK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        eprintln!("LINKPOLL_ATTACK_SEED={seed}");
        let metrics = &server.usage()[0].metrics;
        let end = Instant::now() + Duration::from_secs(seconds);
        let attackers: Vec<_> = [0, strategies().len() / 2]
            .into_iter()
            .zip(0..)
            .map(|(first, number)| {
                let strategy = format!("{first} {}", seed + number);
                let variables = [(STRATEGY, strategy)];
                Victim::run("hostile::attacker::an_attacker", number, &place.text(), &variables)
            })
            .collect();
        attackers.iter().for_each(|attacker| attacker.hear("at work"));
        let times: Vec<Duration> = thread::scope(|scope| {
            let honest: Vec<_> = (0..2)
                .map(|kind| {
                    let (dialer, address) = (own.dialer(), place.address());
                    scope.spawn(move || {
                        let client = dial(&dialer, &address).expect("the server is there");
                        let times = call_until(end, |nth| {
                            let size = [100, 3000, 1, 50_000][usize::try_from(nth % 4).expect("an index")];
                            echo(&client, &payload(nth << 1 | kind, size))
                                .expect("an honest client is served");
                        });
                        client.close();
                        times
                    })
                })
                .collect();
            honest.into_iter().flat_map(|client| client.join().expect("right replies")).collect()
        });
        // Every strategy gets its turn, however slow the machine is.
        for attacker in &attackers {
            attacker.hear(&format!("{} sessions", strategies().len() / 2));
        }
        let violations = violations(&place);
        for mut attacker in attackers {
            attacker.kill();
            attacker.bury();
        }
        settled(&server, 0);
        let closed = metrics.closed_by.snapshot();
        for why in ends.try_iter() {
            let is_typed =
                matches!(why, CloseReason::PeerEnded | CloseReason::Broken(_) | CloseReason::Aborted(_));
            assert!(is_typed, "{why:?}");
        }
        let calls = times.len();
        let [median, late] = quantiles(times.clone());
        let latest = times.into_iter().max().unwrap_or_default();
        report(
            "attacks.txt",
            &format!(
                "{} sessions of attackers, {} of them ended by what was in the messages, others by {violations:?}; \
                 {calls} calls of honest clients: p50 {median:?}, p99 {late:?}, at most {latest:?}",
                metrics.opened.get() - 2,
                closed.aborted,
            ),
        );
        assert!(!violations.is_empty(), "some of it is noticed");
        assert!(latest < PATIENCE, "an honest client's call takes {latest:?}");
        // The server is as good as new.
        let client = dial(&own.dialer(), &place.address()).expect("the server is there");
        echo(&client, &payload(1, 100_000)).expect("it is served");
        client.close();
        drop(client);
        finish_loops(own);
        settled(&server, 0);
        finish(server);
        before.restored("all is over");
    });
}

/// A peer that only rewrites what it shares, as fast as it can, costs a loop that sleeps nothing at all.
#[test]
fn rewriting_words_wakes_nobody() {
    isolated(module_path!(), "rewriting_words_wakes_nobody", || {
        let before = Holdings::now();
        let place = Place::new("idle");
        let (server, _ends) = server(&place.address(), Spin::Never);
        let metrics = &server.usage()[0].metrics;
        let mut attacker = Victim::run("hostile::attacker::an_idle_attacker", 1, &place.text(), &[]);
        attacker.hear("at work");
        until("the session is there", || metrics.connections() == 1);
        // What is done for a new session is over when turns stand still.
        let thread = loop_thread();
        let mut turns = metrics.turns.get();
        until("the loop sleeps", || {
            thread::sleep(Duration::from_millis(20));
            std::mem::replace(&mut turns, metrics.turns.get()) == turns
        });
        let (time, begun) = (loop_time(thread), Instant::now());
        thread::sleep(Duration::from_millis(500));
        let (turns_more, time_more) = (metrics.turns.get() - turns, loop_time(thread) - time);
        let text = format!("{turns_more} turns and {time_more:?} of a loop in {:?}", begun.elapsed());
        report("idle-attack.txt", &text);
        assert_eq!(turns_more, 0, "{text}");
        assert_eq!(metrics.connections(), 1, "nothing has a reason to end");
        attacker.kill();
        attacker.bury();
        settled(&server, 0);
        finish(server);
        before.restored("all is over");
    });
}
