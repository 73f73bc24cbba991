//! Every call that this package makes of the kernel fails in every way that it may, one at a time.
//!
//! A *scene* plays both sides on one thread, so the n-th call is the same call each time. It is played once undisturbed,
//! and then with each fault at each of the site's calls in it.

mod chance;
mod scenes;

use std::fmt::Write as _;
use std::panic::catch_unwind;

use linkpoll::faults::{Effect, Fault, Place as _, Plan, executed};
use linkpoll_conformance::isolated;
use linkpoll_shm::Site;

use crate::bed::{Holdings, report};
use scenes::{Outcome, SCENES, Scene};

/// Of a site's calls in a scene, so many are made to fail, each in turn.
const MOST_CALLS: u64 = 12;

/// How often each site is called in a scene.
fn count(scene: &Scene) -> Vec<(Site, u64)> {
    let counted = Plan::new().with(&Site::ALL).inject();
    let outcome = (scene.play)();
    assert!(outcome.is_whole(), "{}: {outcome:?}", scene.name);
    let calls = |site: Site| match scene.only {
        [] => counted.calls(site),
        only => u64::from(only.contains(&site)),
    };
    Site::ALL.into_iter().map(|site| (site, calls(site))).collect()
}

/// One fault, at one call.
fn play(scene: &Scene, site: Site, fault: Fault, effect: Effect, nth: u64) -> Outcome {
    let (before, happened) = (Holdings::now(), executed(site, fault));
    let injected = Plan::new().with(&Site::ALL).fail(site, fault, nth, 1).inject();
    let outcome = (scene.play)();
    drop(injected);
    let name = format!("{}, {site} {fault}, call {nth}", scene.name);
    assert_eq!(executed(site, fault), happened + 1, "{name}: it happens once");
    assert!(!outcome.is_garbled, "{name}: wrong bytes");
    if effect == Effect::Nothing {
        assert!(outcome.is_whole(), "{name}: nobody may notice: {outcome:?}");
    }
    before.restored(&name);
    outcome
}

/// Each fault at each site happens, in whatever scene it can; what is the matter is told by a typed error, on one side at
/// least, or nobody notices; no descriptor and no mapping stays, and the next session is as good as any.
#[test]
fn every_fault_at_every_site_of_a_session_costs_at_most_what_it_may() {
    isolated(module_path!(), "every_fault_at_every_site_of_a_session_costs_at_most_what_it_may", || {
        let calls: Vec<_> = SCENES.iter().map(|scene| (scene, count(scene))).collect();
        let mut table = String::from("| site | fault | executed | outcome |\n|---|---|---:|---|\n");
        let (mut never, mut wrong) = (Vec::new(), Vec::new());
        for site in Site::ALL {
            for &(fault, effect) in site.faults() {
                let mut outcomes: Vec<String> = Vec::new();
                for (scene, counts) in &calls {
                    let calls = counts.iter().find(|(it, _)| *it == site).map_or(0, |(_, calls)| *calls);
                    let step = calls.div_ceil(MOST_CALLS).max(1);
                    for nth in (0..calls).step_by(usize::try_from(step).expect("a few")) {
                        let played = catch_unwind(|| play(scene, site, fault, effect, nth));
                        match played {
                            Ok(outcome) => {
                                let text = format!("{}: {outcome}", scene.name);
                                if !outcomes.contains(&text) {
                                    outcomes.push(text);
                                }
                            }
                            Err(_) => wrong.push(format!("{} {site} {fault} {nth}", scene.name)),
                        }
                    }
                }
                let times = executed(site, fault);
                if times == 0 {
                    never.push(format!("{site} {fault}"));
                }
                writeln!(table, "| {site} | {fault} | {times} | {} |", outcomes.join("; ")).expect("memory");
            }
        }
        for scene in SCENES {
            assert!((scene.play)().is_whole(), "{} is as good as new", scene.name);
        }
        report("shm-fault-matrix.md", &table);
        assert!(never.is_empty() && wrong.is_empty(), "wrong: {wrong:?}; never happened: {never:?}");
    });
}
