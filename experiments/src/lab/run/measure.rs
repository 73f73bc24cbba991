//! One stage of a run: everything that takes part, measured in alternating windows.

use std::time::Duration;

use serde::Serialize;

use super::contestant::Contestant;
use super::cpu;
use super::plan::{Plan, Stage};
use super::server::Server;
use super::statistics::median;
use crate::cli::{Side, Variant};
use crate::control::{Memory, Stats, Syscalls};
use crate::error::LabError;
use crate::load::{Config, Load, Phase, Report, Shape, StalledShape};

/// What a window was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Decides which variant of the floor is the faster one.
    Trial,
    /// The floor all others of its round are divided by.
    Floor,
    /// A second process of the same floor: its ratio to the first is noise.
    Again,
    /// A transport.
    Transport,
}

/// The raw figures of one window. Nothing was in flight when it began and when it ended, so that processor time
/// and system calls belong to these requests and no others.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) name: String,
    pub(crate) spin: &'static str,
    pub(crate) role: Role,
    pub(crate) shape: Shape,
    pub(crate) round: usize,
    pub(crate) server_cpu_ns: u64,
    /// Of the load's own thread: near the length of the window, the load is what limits it.
    pub(crate) load_cpu_ns: u64,
    pub(crate) server_syscalls: Syscalls,
    /// What the server counted, where it looks into the bytes.
    pub(crate) server_requests: Option<u64>,
    /// What it sent, where it counts that.
    pub(crate) memory: Option<Memory>,
    pub(crate) report: Report,
}

impl Window {
    /// Processor time of the server for each request, in nanoseconds.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.server_cpu_ns as f64 / self.report.requests.max(1) as f64
    }

    /// System calls of the server for each request.
    pub(crate) fn syscalls_per_request(&self) -> f64 {
        self.server_syscalls.total() as f64 / self.report.requests.max(1) as f64
    }
}

/// A server, the open connections of its current window, and what its windows are for.
struct Entrant {
    contestant: Contestant,
    role: Role,
    server: Server,
    config: Config,
    load: Load,
}

/// Measures one stage and returns its windows in the order they were made; `told` hears of each before it starts.
///
/// # Errors
/// A server that does not start or dies, a reply that is wrong.
pub(crate) fn stage(
    plan: &Plan,
    stage: &Stage,
    sides: &[Side],
    cpu: Option<usize>,
    told: &mut dyn FnMut(&Contestant),
) -> Result<Vec<Window>, LabError> {
    let start = |contestant, role| Entrant::start(contestant, role, plan, stage, cpu);
    let mut windows = Vec::new();
    let mut floors = [Variant::Own, Variant::Shared].map(|variant| (variant, Vec::new()));
    let mut trials = Vec::new();
    for (variant, _) in &floors {
        trials.push(start(Contestant::floor(*variant), Role::Trial)?);
    }
    for round in 0..plan.trials {
        for index in turns(round, trials.len()) {
            told(&trials[index].contestant);
            let window = trials[index].measure(plan, stage, round)?;
            floors[index].1.push(window.cpu_per_request());
            windows.push(window);
        }
    }
    let own_is_faster = median(floors[0].1.clone()) < median(floors[1].1.clone());
    let faster = trials.swap_remove(usize::from(!own_is_faster));
    for slower in trials {
        slower.stop()?;
    }
    let again = start(faster.contestant.clone(), Role::Again)?;
    let mut entrants = vec![Entrant { role: Role::Floor, ..faster }];
    for contestant in Contestant::of(stage, sides) {
        entrants.push(start(contestant, Role::Transport)?);
    }
    entrants.push(again);
    for round in 0..stage.pairs {
        for index in turns(round, entrants.len()) {
            told(&entrants[index].contestant);
            windows.push(entrants[index].measure(plan, stage, round)?);
        }
    }
    for entrant in entrants {
        entrant.stop()?;
    }
    Ok(windows)
}

/// In which order the entrants have their windows. The first one, the floor, begins, or ends, alternately, so that
/// slow drift cancels out; the others take turns at being next to it, so that the second floor, whose ratio to the
/// first one is called noise, is no further away from it than what is compared.
fn turns(round: usize, entrants: usize) -> Vec<usize> {
    let others = entrants.saturating_sub(1).max(1);
    let mut turns: Vec<usize> = (0..entrants).collect();
    if let Some(others_in_turn) = turns.get_mut(1..) {
        others_in_turn.rotate_left(round / 2 % others);
    }
    if round % 2 == 1 {
        turns.reverse();
    }
    turns
}

impl Entrant {
    fn start(
        contestant: Contestant,
        role: Role,
        plan: &Plan,
        stage: &Stage,
        cpu: Option<usize>,
    ) -> Result<Self, LabError> {
        let mut server = Server::start(&contestant, cpu)?;
        let config = Config {
            stalled: StalledShape::default(),
            shared: contestant.shared,
            address: server.address.clone(),
            shape: stage.shape,
            warmup: plan.warmup,
            duration: plan.window,
            rate: None,
            think: Duration::ZERO,
            #[cfg(feature = "shm")]
            doorbell: contestant.doorbell,
            slow_every: None,
            spin: contestant.load_spin,
        };
        let load = Load::connect(&config).map_err(|source| LabError::Driven {
            name: contestant.name.clone(),
            source,
            fate: server.fate(),
        })?;
        Ok(Self { contestant, role, server, config, load })
    }

    /// Opens new connections. The order in which a set of connections becomes ready settles into a pattern that
    /// lasts as long as they do, and decides the tail of the latency: a comparison needs many sets, not one for each
    /// side.
    fn reconnect(&mut self) -> Result<(), LabError> {
        let load = Load::connect(&self.config);
        self.load = load.map_err(|source| LabError::Driven {
            name: self.contestant.name.clone(),
            source,
            fate: self.server.fate(),
        })?;
        Ok(())
    }

    fn measure(&mut self, plan: &Plan, stage: &Stage, round: usize) -> Result<Window, LabError> {
        self.reconnect()?;
        let (mut before, mut after) = (None, None);
        let mut load_cpu = 0;
        let server = &mut self.server;
        // The answer to `stats` comes from another thread of the server on the same processor, so by then its loop
        // sleeps, and its time, which the kernel brings up to date when a thread sleeps, is exact. Each window is
        // charged for one answer, some microseconds, whoever the server is.
        let result = self.load.window(plan.warmup, plan.window, &mut |phase| match phase {
            Phase::Connected => {}
            Phase::Begin => {
                before = Some(server.stats().map(|stats| (stats, cpu::time(server.id()))));
                load_cpu = cpu::own_thread();
            }
            Phase::End => {
                load_cpu = cpu::own_thread().saturating_sub(load_cpu);
                after = Some(server.stats().map(|stats| (stats, cpu::time(server.id()))));
            }
        });
        let report = result.map_err(|source| LabError::Driven {
            name: self.contestant.name.clone(),
            source,
            fate: self.server.fate(),
        })?;
        let (stats_before, cpu_before) = self.sampled(before)?;
        let (stats_after, cpu_after) = self.sampled(after)?;
        let requests = stats_after.requests.zip(stats_before.requests).map(|(after, before)| after - before);
        if let Some(counted) = requests.filter(|counted| *counted != report.requests) {
            let detail = format!("counted {counted} requests where {} were answered", report.requests);
            return Err(LabError::Server { name: self.contestant.name.clone(), detail });
        }
        Ok(Window {
            name: self.contestant.name.clone(),
            spin: self.contestant.spin,
            role: self.role,
            shape: stage.shape,
            round,
            server_cpu_ns: cpu_after.saturating_sub(cpu_before),
            load_cpu_ns: load_cpu,
            server_syscalls: stats_after.syscalls.since(stats_before.syscalls),
            server_requests: requests,
            memory: stats_after.memory.zip(stats_before.memory).map(|(after, before)| after.since(&before)),
            report,
        })
    }

    fn sampled(
        &self,
        sample: Option<Result<(Stats, Option<u64>), LabError>>,
    ) -> Result<(Stats, u64), LabError> {
        let gone =
            || LabError::Server { name: self.contestant.name.clone(), detail: "cannot be observed".into() };
        let (stats, time) = sample.ok_or_else(gone)??;
        Ok((stats, time.ok_or_else(gone)?))
    }

    /// Closes the connections, then ends the server.
    fn stop(self) -> Result<(), LabError> {
        drop(self.load);
        self.server.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_closer_to_the_floor_than_its_second_process() {
        for entrants in 2..6 {
            let mut distances = vec![0; entrants];
            for round in 0..2 * (entrants - 1) {
                let turns = turns(round, entrants);
                let place = |entrant| turns.iter().position(|turn| *turn == entrant).unwrap();
                assert!([0, entrants - 1].contains(&place(0)), "{turns:?}");
                (1..entrants).for_each(|other| distances[other] += place(other).abs_diff(place(0)));
            }
            assert!(distances[1..].iter().all(|distance| *distance == distances[1]), "{distances:?}");
        }
        assert_eq!([turns(0, 3), turns(1, 3), turns(2, 3)], [[0, 1, 2], [2, 1, 0], [0, 2, 1]]);
    }
}
