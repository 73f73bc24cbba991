//! When a driver's counts are brought up to date: those of a session whenever it is parked, and while the loop spins with
//! each look at epoll; the board with each look at epoll.

use linkpoll::driver::Key;

use super::entry::Entry;
use super::{ShmDriver, Statistics};

impl ShmDriver {
    /// What this driver has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.statistics;
        for key in self.entries.keys() {
            if let Some(Entry::Connection(connection)) = self.entries.get(key) {
                let news = connection.uncounted();
                statistics.traffic.add(&news);
                statistics.hold(&news);
            }
        }
        statistics
    }

    /// Brings the counts of a session up to date.
    #[inline]
    pub(super) fn count(&mut self, key: Key) {
        if let Some(Entry::Connection(connection)) = self.entries.get_mut(key) {
            let news = connection.count();
            self.calls.send.add(news.doorbells_sent);
            self.statistics.traffic.add(&news);
            self.statistics.hold(&news);
        }
    }

    /// A session is this driver's from now on.
    pub(super) fn count_in(&mut self, key: Key) {
        self.statistics.sessions_open += 1;
        if let Some(Entry::Connection(connection)) = self.entries.get(key) {
            self.statistics.hold(connection.session.counters());
        }
    }

    /// A session is not this driver's any more.
    pub(super) fn count_out(&mut self, key: Key) {
        self.count(key);
        self.statistics.sessions_open -= 1;
        if let Some(Entry::Connection(connection)) = self.entries.get(key) {
            self.statistics.let_go(connection.session.counters());
        }
    }

    /// Those of all active sessions.
    pub(super) fn count_active(&mut self) {
        for at in 0..self.active.len() {
            self.count(self.active[at]);
        }
    }
}

impl Drop for ShmDriver {
    /// What it has done stays on its board.
    fn drop(&mut self) {
        self.statistics = self.statistics();
        (self.statistics.sessions_open, self.statistics.loans_out, self.statistics.arenas_open) = (0, 0, 0);
        self.board.show(&self.statistics);
    }
}
