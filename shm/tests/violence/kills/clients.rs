//! Clients are killed under load: their server loses nothing but their sessions.

use std::time::Duration;

use linkpoll::reactor::Spin;
use linkpoll_conformance::isolated;

use super::bystander::Bystander;
use super::calls::is_death;
use super::victim::Victim;
use super::victims::SPIN;
use super::{kills, some_time};
use crate::bed::{
    Holdings, Place, finish, finish_loops, is_sanitized, loops, named, report, resident, server, settled,
    until,
};

/// A client that is killed at any time costs its own session, which ends for a reason. Nothing of it is left.
#[test]
fn a_server_survives_the_deaths_of_its_clients() {
    isolated(module_path!(), "a_server_survives_the_deaths_of_its_clients", || {
        let (before, names) = (Holdings::now(), named());
        let place = Place::new("clients");
        let (server, ends) = server(&place.address(), Spin::Never);
        let own = loops(Spin::Never);
        let bystander = Bystander::start(own.dialer(), place.address());
        let metrics = &server.usage()[0].metrics;
        until("the bystander is there", || metrics.connections() == 1);
        let (with_bystander, mut memory) = (Holdings::now(), 0);
        let mut in_session = 0;
        for number in 0..kills() {
            let test =
                ["kills::victims::a_caller", "kills::victims::a_half_closer"][usize::from(number % 3 == 2)];
            let spin = if number % 2 == 0 { "never" } else { "once" };
            let opened = metrics.opened.get();
            let mut victim = Victim::run(test, number, &place.text(), &[(SPIN, spin.to_owned())]);
            if number % 8 != 7 {
                victim.hear("at work");
            }
            if number % 4 < 3 {
                until("it is in a session", || metrics.opened.get() > opened);
            }
            some_time(number, Duration::from_millis(12));
            victim.kill();
            victim.bury();
            in_session += u64::from(metrics.opened.get() > opened);
            if number % 16 == 15 {
                settled(&server, 1);
                with_bystander.restored("victims are gone");
                ends.try_iter().for_each(|why| assert!(is_death(&why), "{why:?}"));
            }
            if number == 32 {
                memory = resident();
            }
        }
        let calls = bystander.stop();
        settled(&server, 0);
        ends.try_iter().for_each(|why| assert!(is_death(&why), "{why:?}"));
        let grown = resident().saturating_sub(memory);
        report(
            "kills-of-clients.txt",
            &format!(
                "{} clients killed, {in_session} in a session or behind one; {calls} calls of a bystander",
                kills(),
            ),
        );
        assert!(
            memory == 0 || is_sanitized() || grown < 16 << 20,
            "{grown} bytes of memory more than after a few deaths"
        );
        assert!(in_session >= kills() / 2, "most die in traffic");
        finish(server);
        finish_loops(own);
        before.restored("all is over");
        assert_eq!(named(), names, "names in shared memory");
    });
}
