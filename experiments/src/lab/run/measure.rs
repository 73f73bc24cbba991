//! One stage of a run: everything that takes part, measured in alternating windows.

use serde::Serialize;

use super::contestant::Contestant;
use super::cpu;
use super::plan::{Plan, Stage};
use super::server::Server;
use super::statistics::median;
use crate::cli::{Transport, Variant};
use crate::control::{Stats, Syscalls};
use crate::error::LabError;
use crate::load::{Config, Load, Phase, Report, Shape};

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

/// A server, the open connections to it, and what its windows are for.
struct Entrant {
    contestant: Contestant,
    role: Role,
    server: Server,
    load: Load,
}

/// Measures one stage and returns its windows in the order they were made; `told` hears of each before it starts.
///
/// # Errors
/// A server that does not start or dies, a reply that is wrong.
pub(crate) fn stage(
    plan: &Plan,
    stage: &Stage,
    transports: &[Transport],
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
        for ((_, costs), entrant) in floors.iter_mut().zip(&mut trials) {
            told(&entrant.contestant);
            let window = entrant.measure(plan, stage, round)?;
            costs.push(window.cpu_per_request());
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
    for contestant in Contestant::transports(transports, stage.adaptive) {
        entrants.push(start(contestant, Role::Transport)?);
    }
    entrants.push(again);
    for round in 0..stage.pairs {
        for index in 0..entrants.len() {
            // There and back, so that no one always follows the same neighbour and slow drift cancels out.
            let index = if round % 2 == 0 { index } else { entrants.len() - 1 - index };
            told(&entrants[index].contestant);
            windows.push(entrants[index].measure(plan, stage, round)?);
        }
    }
    for entrant in entrants {
        entrant.stop()?;
    }
    Ok(windows)
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
            address: server.address.clone(),
            shape: stage.shape,
            warmup: plan.warmup,
            duration: plan.window,
            rate: None,
            spin: contestant.load_spin,
        };
        let load = Load::connect(&config).map_err(|source| LabError::Driven {
            name: contestant.name.clone(),
            source,
            fate: server.fate(),
        })?;
        Ok(Self { contestant, role, server, load })
    }

    fn measure(&mut self, plan: &Plan, stage: &Stage, round: usize) -> Result<Window, LabError> {
        let (mut before, mut after) = (None, None);
        let mut load_cpu = 0;
        let server = &mut self.server;
        // The question for the counters costs the server time; it is asked outside of the span that is charged.
        let result = self.load.window(plan.warmup, plan.window, &mut |phase| match phase {
            Phase::Connected => {}
            Phase::Begin => {
                before = Some(server.stats().map(|stats| (stats, cpu::time(server.id()))));
                load_cpu = cpu::own_thread();
            }
            Phase::End => {
                load_cpu = cpu::own_thread().saturating_sub(load_cpu);
                let time = cpu::time(server.id());
                after = Some(server.stats().map(|stats| (stats, time)));
            }
        });
        let report = result.map_err(|source| LabError::Driven {
            name: self.contestant.name.clone(),
            source,
            fate: self.server.fate(),
        })?;
        let (stats_before, cpu_before) = self.sampled(before)?;
        let (stats_after, cpu_after) = self.sampled(after)?;
        Ok(Window {
            name: self.contestant.name.clone(),
            spin: self.contestant.spin,
            role: self.role,
            shape: stage.shape,
            round,
            server_cpu_ns: cpu_after.saturating_sub(cpu_before),
            load_cpu_ns: load_cpu,
            server_syscalls: stats_after.syscalls.since(stats_before.syscalls),
            server_requests: stats_after
                .requests
                .zip(stats_before.requests)
                .map(|(after, before)| after - before),
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
