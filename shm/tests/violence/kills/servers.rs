//! Servers are killed under the calls of the library's clients: every call ends once, and soon.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use linkpoll::net::{Address, Dialer};
use linkpoll::reactor::Spin;
use linkpoll_conformance::isolated;

use super::calls::{Calls, quantiles, visit};
use super::victim::Victim;
use super::victims::SPIN;
use super::{kills, some_time};
use crate::bed::{Holdings, Place, finish_loops, is_sanitized, loops, named, report, resident};

/// Visits a server until it is gone; says when the first visit has begun.
fn load(dialer: &Dialer, address: &Address, kind: u64, begun: &Sender<()>) -> Calls {
    let mut all = Calls::default();
    while let Some(calls) = visit(dialer, address, kind) {
        all += calls;
        // The killer may have heard enough.
        let _ = begun.send(());
    }
    let _ = begun.send(());
    all
}

/// A server that is killed at any time: every call ends once, in its reply, byte by byte, or in an error that comes soon;
/// the next server at the same path serves the next calls; nothing is left.
#[test]
fn calls_survive_the_deaths_of_their_servers() {
    isolated(module_path!(), "calls_survive_the_deaths_of_their_servers", || {
        let (before, names) = (Holdings::now(), named());
        let place = Place::new("servers");
        let address = place.address();
        let own = loops(Spin::Never);
        let with_loop = Holdings::now();
        let (mut all, mut interrupted, mut times, mut memory) = (Calls::default(), 0, Vec::new(), 0);
        for number in 0..kills() {
            let spin = if number % 2 == 0 { "never" } else { "once" };
            let test = "kills::victims::a_server";
            let mut victim = Victim::run(test, number, &place.text(), &[(SPIN, spin.to_owned())]);
            victim.hear("listening");
            let (calls, killed) = thread::scope(|scope| {
                let (tell, begun) = channel();
                let clients: Vec<_> = (0..2)
                    .map(|kind| {
                        let (dialer, tell, address) = (own.dialer(), tell.clone(), &address);
                        scope.spawn(move || load(&dialer, address, number << 1 | kind, &tell))
                    })
                    .collect();
                if number % 4 != 3 {
                    begun.recv().expect("a visit");
                }
                some_time(number, Duration::from_millis(8));
                let killed = victim.kill();
                let calls: Calls =
                    clients.into_iter().map(|client| client.join().expect("right replies")).sum();
                (calls, killed)
            });
            victim.bury();
            assert_eq!(calls.made, calls.replied + calls.failed, "{calls:?}");
            interrupted += u64::from(!calls.failures.is_empty());
            times.extend(calls.failures.iter().map(|(made, failed)| *failed - killed.max(*made)));
            all += calls;
            if number % 16 == 15 {
                with_loop.restored("victims are gone");
            }
            if number == 32 {
                memory = resident();
            }
        }
        let grown = resident().saturating_sub(memory);
        let failed = times.len();
        let [median, late] = quantiles(times);
        report(
            "kills-of-servers.txt",
            &format!(
                "{} servers killed, {interrupted} with calls under way; {} calls, of which {} failed; \
                 from the kill until a caller knew, {failed} times: p50 {median:?}, p99 {late:?}",
                kills(),
                all.made,
                all.failed,
            ),
        );
        assert!(
            memory == 0 || is_sanitized() || grown < 16 << 20,
            "{grown} bytes of memory more than after a few deaths"
        );
        assert!(interrupted >= kills() / 8 && all.replied > 0);
        assert!(late < Duration::from_secs(10), "a caller learns it soon: {late:?}");
        finish_loops(own);
        before.restored("all is over");
        assert_eq!(named(), names, "names in shared memory");
    });
}
