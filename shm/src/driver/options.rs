//! How the driver behaves.

use super::StatisticsGroup;
use crate::handshake;

/// How a shared-memory driver behaves.
#[derive(Clone, Debug)]
pub struct ShmOptions {
    /// What its sessions bring, take and allow.
    pub session: handshake::Options,
    /// The most bytes of pooled memory for received bytes and for replies, at least 256 KiB. Default: 1 GiB.
    pub memory: usize,
    /// The most bytes received from one session in one turn, roughly. Default: 256 KiB.
    pub receive_budget: usize,
    /// The most handshakes at a time. Further connections wait in the listener's queue. Default: 64.
    pub handshakes: usize,
    /// Where its counts are shown. Drivers made with clones of the same options are counted together, and each of them
    /// answers for all (`lab shmstat`).
    pub statistics: StatisticsGroup,
}

impl Default for ShmOptions {
    fn default() -> Self {
        Self {
            session: handshake::Options::default(),
            memory: 1 << 30,
            receive_budget: 256 << 10,
            handshakes: 64,
            statistics: StatisticsGroup::default(),
        }
    }
}
