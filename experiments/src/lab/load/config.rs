//! What a load does.

use std::time::Duration;

use serde::Serialize;

use crate::address::Address;
use crate::cli::{LoadArguments, LoadSpin};

/// What a load does.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The server.
    pub(crate) address: Address,
    /// How many connections and requests, and how large.
    pub(crate) shape: Shape,
    /// Time before the measurement.
    pub(crate) warmup: Duration,
    /// Time during which requests are started; their replies are awaited.
    pub(crate) duration: Duration,
    /// Requests per second over all connections (open loop); `None`: as fast as replies come (closed loop).
    pub(crate) rate: Option<f64>,
    /// Whether waiting polls before it sleeps.
    pub(crate) spin: LoadSpin,
}

/// How many connections, how many requests in flight on each, and the payload of a request in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    pub(crate) depth: u32,
    pub(crate) size: usize,
}

impl From<&LoadArguments> for Config {
    fn from(arguments: &LoadArguments) -> Self {
        let size = usize::try_from(arguments.size).unwrap_or(usize::MAX);
        Self {
            address: arguments.connect.clone(),
            shape: Shape { connections: arguments.connections, depth: arguments.depth, size },
            warmup: arguments.warmup,
            duration: arguments.duration,
            rate: arguments.rate,
            spin: arguments.spin,
        }
    }
}
