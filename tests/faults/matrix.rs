//! Every fault at every site, one at a time.

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::Path;

use linkpoll::driver::epoll::Trigger;
use linkpoll::faults::{Effect, Fault, Place as _, Site, executed};
use linkpoll_conformance::isolated;
use nix::errno::Errno;

use crate::{dialling, memory, news, scheduling, serving, starting};

/// Whether the kernel does this to a socket that is watched for edges.
///
/// KERNEL: epoll(7): a short receive from a stream means that it is empty, and so does EAGAIN; the next bytes are a
/// new edge. Both hold but for urgent bytes, see `urgent_bytes_do_not_stall_a_connection`.
pub(crate) fn is_possible(trigger: Trigger, site: Site, fault: Fault) -> bool {
    let receives = matches!(site, Site::Receive | Site::ReceiveVectored);
    trigger == Trigger::Level || !receives || !matches!(fault, Fault::Short | Fault::Errno(Errno::EAGAIN))
}

fn outcome(site: Site, fault: Fault, effect: Effect) -> String {
    match site {
        Site::Connect | Site::ConnectResult => dialling::check(site, fault, effect),
        Site::SocketType | Site::PeerName | Site::FileFlags => dialling::check_adopting(site, fault),
        Site::PageExchange => memory::check(site, fault),
        Site::ErrorQueue => news::check(site, fault),
        Site::SchedulingRead | Site::SchedulingWrite => scheduling::check(site, fault),
        _ if effect == Effect::SetUp => starting::check(site, fault),
        _ => {
            let [level, edge] = [Trigger::Level, Trigger::Edge].map(|trigger| {
                is_possible(trigger, site, fault).then(|| serving::check(trigger, site, fault, effect))
            });
            let level = level.expect("everything is possible there");
            match edge {
                None => format!("{level} (level-triggered only)"),
                Some(edge) if edge == level => level,
                Some(edge) => format!("{level}; edge-triggered: {edge}"),
            }
        }
    }
}

/// Each fault at each site happens at least once, to a server with other connections, and costs at most what the
/// table of faults says. Connections that it is not meant for are verified byte by byte, and nothing is left behind.
#[test]
fn every_fault_at_every_site_costs_at_most_what_it_may() {
    isolated(module_path!(), "every_fault_at_every_site_costs_at_most_what_it_may", || {
        let only = std::env::var("LINKPOLL_FAULT").unwrap_or_default();
        let mut table = String::from("| site | fault | executed | outcome |\n|---|---|---:|---|\n");
        let (mut never, mut wrong) = (Vec::new(), Vec::new());
        let all =
            Site::ALL.into_iter().flat_map(|site| site.faults().iter().map(move |it| (site, it.0, it.1)));
        for (site, fault, effect) in all {
            let name = format!("{site} {fault}");
            if !name.contains(&only) {
                continue;
            }
            eprintln!("{name}");
            let outcome = catch_unwind(|| outcome(site, fault, effect)).unwrap_or_else(|_| {
                wrong.push(name.clone());
                "WRONG".to_owned()
            });
            let executed = executed(site, fault);
            if executed == 0 {
                never.push(name);
            }
            writeln!(table, "| {site} | {fault} | {executed} | {outcome} |").expect("memory");
        }
        eprintln!("{table}");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault-matrix.md");
        std::fs::write(path, &table).expect("a file in the target directory");
        assert!(never.is_empty() && wrong.is_empty(), "wrong: {wrong:?}; never happened: {never:?}");
    });
}
