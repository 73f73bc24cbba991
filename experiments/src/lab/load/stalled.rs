//! Peers that never read: they ask, and let the replies lie.
//!
//! A server that is to bear them stops receiving from them at some time. Until then they take its time; so they offer
//! their bytes before the measurement, and whatever the server still takes of them during it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::config::Config;
use super::connection::Connection;
use super::error::LoadError;
use super::pattern::Pattern;
use super::poller::Poller;

/// Nothing taken from any of them for so long: the server will not take more.
const SETTLED: Duration = Duration::from_millis(200);

/// How many such peers, and the bytes that each offers: whole requests, at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StalledShape {
    pub(crate) connections: u32,
    pub(crate) bytes: u64,
}

/// What has become of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct StalledReport {
    pub(crate) connections: usize,
    /// Offered by each.
    pub(crate) offered: u64,
    /// The most that the server's system has taken of one.
    pub(crate) most_taken: u64,
    /// Those that the server has ended.
    pub(crate) ended: usize,
}

impl fmt::Display for StalledReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, offered, most_taken, ended } = self;
        write!(f, "stalled    {connections}, {offered} bytes offered by each, ")?;
        write!(f, "{most_taken} taken of one at the most, {ended} ended by the server")
    }
}

/// The peers. Their tokens at the poller follow those of the measured connections.
pub(crate) struct Stalled {
    peers: Vec<Connection>,
    first: usize,
    offered: u64,
    ended: usize,
}

impl Stalled {
    /// Connects them, behind `first` others.
    pub(crate) fn connect(
        config: &Config,
        first: usize,
        pattern: &Pattern,
        poller: &Poller,
    ) -> Result<Self, LoadError> {
        let StalledShape { connections, bytes } = config.stalled;
        let frame = pattern.frame_length() as u64;
        let requests = (bytes / frame).max(1);
        let mut peers = Vec::new();
        for _ in 0..connections {
            let number = first + peers.len();
            let mut peer = Connection::new(number, config.open(number)?, 0);
            poller.add_sender(&peer.wire, number).map_err(LoadError::system("epoll_ctl"))?;
            peer.offer(requests);
            peers.push(peer);
        }
        Ok(Self { peers, first, offered: requests * frame, ended: 0 })
    }

    /// Offers until nothing more is taken.
    pub(crate) fn settle(
        &mut self,
        pattern: &Pattern,
        poller: &mut Poller,
        buffer: &mut [u8],
    ) -> Result<(), LoadError> {
        while !self.peers.is_empty() {
            let ready = poller.wait(SETTLED).map_err(LoadError::system("epoll_pwait2"))?;
            if ready == 0 {
                break;
            }
            for index in 0..ready {
                self.offer(poller.ready(index).token, pattern, poller, buffer)?;
            }
        }
        Ok(())
    }

    /// Whether a token is one of theirs.
    pub(crate) fn has(&self, token: usize) -> bool {
        token >= self.first
    }

    /// There is room in a peer's socket, or it has ended.
    pub(crate) fn offer(
        &mut self,
        token: usize,
        pattern: &Pattern,
        poller: &Poller,
        buffer: &mut [u8],
    ) -> Result<(), LoadError> {
        let Some(peer) = token.checked_sub(self.first).and_then(|index| self.peers.get_mut(index)) else {
            return Ok(());
        };
        let done = match peer.flush(pattern, buffer) {
            Ok(done) => done,
            Err(LoadError::Closed { .. }) => {
                self.ended += 1;
                true
            }
            Err(error) => return Err(error),
        };
        if done {
            poller.remove(&peer.wire).map_err(LoadError::system("epoll_ctl"))?;
        }
        Ok(())
    }

    /// What has become of them so far; `None` if there are none.
    pub(crate) fn report(&self, pattern: &Pattern) -> Option<StalledReport> {
        let taken = self.peers.iter().map(|peer| peer.sent_bytes(pattern));
        Some(StalledReport {
            connections: self.peers.len(),
            offered: self.offered,
            most_taken: taken.max()?,
            ended: self.ended,
        })
    }
}
