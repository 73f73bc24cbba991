//! The load: a single-threaded epoll client that keeps requests in flight and verifies every byte of every reply.
//!
//! It shares no code with linkpoll, so that the meter does not share faults with what it measures; but for sessions in
//! shared memory, which have no system call at which the two could be told apart.

pub(crate) mod command;
mod config;
mod connection;
mod engine;
mod error;
mod pattern;
mod poller;
mod report;
mod schedule;
mod shape;
pub(crate) mod slow;
mod stalled;
mod wire;

pub(crate) use config::{Config, DESCRIPTORS_OF_A_SESSION};
pub(crate) use engine::Load;
pub(crate) use error::LoadError;
pub(crate) use poller::Poller;
pub(crate) use report::Report;
pub(crate) use shape::Shape;
pub(crate) use stalled::StalledShape;

/// Where a run of the load has got to. Nothing is in flight when [`Phase::Begin`] and [`Phase::End`] are told, so
/// counters read then belong to exactly the requests of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Every connection is open; the warm-up starts.
    Connected,
    /// The warm-up is over and its last reply is in; measuring starts.
    Begin,
    /// The last reply of the measurement is in.
    End,
}

/// Connects, warms up, measures once, and closes.
///
/// # Errors
/// A refused or lost connection, a reply that differs from its request, or 10 s without any reply.
pub(crate) fn run(config: &Config, progress: &mut dyn FnMut(Phase)) -> Result<Report, LoadError> {
    let mut load = Load::connect(config)?;
    progress(Phase::Connected);
    load.window(config.warmup, config.duration, progress)
}
