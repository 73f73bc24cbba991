//! Which sessions are looked at, which sleep, and what epoll watches for them.

use linkpoll::driver::Key;
use linkpoll::driver::epoll::{Kernel as _, Ready};

use super::entry::Entry;
use super::{ACCEPTING, BELL, READ, READ_WRITE, RUNG, ShmDriver};
use crate::session::Parked;

impl ShmDriver {
    /// Does what epoll reports of one descriptor.
    pub(super) fn heed(&mut self, ready: Ready) {
        let token = ready.token();
        if token == BELL {
            return;
        }
        if token & ACCEPTING != 0 {
            return self.advance_accepting(Key::from_word(token & !ACCEPTING));
        }
        if token & RUNG != 0 {
            return self.rung(Key::from_word(token & !RUNG));
        }
        let key = Key::from_word(token);
        match self.entries.get(key) {
            Some(Entry::Listener(_)) => self.accept(key),
            Some(Entry::Connecting(_)) => self.advance_connecting(key),
            Some(Entry::Connection(_)) => self.hear(key),
            Some(Entry::Failed) | None => {}
        }
    }

    /// Looks at a session in each turn from now on.
    #[inline]
    pub(super) fn activate(&mut self, key: Key) {
        if let Some(Entry::Connection(connection)) = self.entries.get_mut(key)
            && !std::mem::replace(&mut connection.is_active, true)
        {
            self.active.push(key);
        }
    }

    /// Looks at a session no more. Those behind it have their turn nevertheless.
    pub(super) fn deactivate(&mut self, key: Key) {
        if let Some(at) = self.active.iter().position(|&active| active == key) {
            self.active.remove(at);
            self.at_active -= usize::from(at < self.at_active);
        }
        self.starved.retain(|&starved| starved != key);
    }

    /// Parks all active sessions. Answers whether all of them sleep.
    pub(super) fn park_all(&mut self) -> bool {
        if self.active.is_empty() {
            return self.events.is_empty();
        }
        let mut active = std::mem::take(&mut self.active);
        let mut all = true;
        active.retain(|&key| {
            let stays = self.park(key);
            self.count(key);
            all &= !stays;
            stays
        });
        // Failing sessions activate nobody, so the list is still empty.
        self.active = active;
        all && self.events.is_empty()
    }

    /// Parks one session. Answers whether it stays active.
    fn park(&mut self, key: Key) -> bool {
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return false };
        let unsent = &connection.unsent.chain;
        let sends = !unsent.is_empty() && !connection.has_last_words();
        let send = sends.then(|| unsent.len());
        if connection.failed || connection.must_listen {
            connection.is_active = connection.must_listen && !connection.failed;
            return connection.is_active;
        }
        let receive = connection.may_receive();
        if !connection.lent.is_empty() {
            // Also what a send has taken back since it was looked after: nobody rings for that.
            self.release_what_is_back(key);
        }
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return false };
        // Only who waits for lent memory is woken when it comes back.
        let awaits = !connection.lent.is_empty();
        let released = if awaits { connection.session.park_for_releases() } else { Ok(Parked::Sleeping) };
        match released.and_then(|released| Ok((released, connection.session.park(receive, send)?))) {
            Ok((Parked::Sleeping, Parked::Sleeping)) => {
                connection.is_active = false;
                false
            }
            Ok(_) => true,
            Err(error) => {
                connection.is_active = false;
                self.fail(key, error);
                false
            }
        }
    }

    /// Stops watching a session's socket and eventfd.
    pub(super) fn unwatch_socket(&mut self, key: Key) {
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        if connection.watched.take().is_some() {
            let (socket, bell) = connection.session.watched();
            self.calls.control.add(1);
            // If it goes on to be reported, it is ignored.
            let _ = self.kernel.unwatch(socket);
            if let Some(bell) = bell {
                self.calls.control.add(1);
                let _ = self.kernel.unwatch(bell);
            }
        }
    }

    /// Waits for room in a session's socket where frames wait for it.
    #[inline]
    pub(super) fn update_watch(&mut self, key: Key) {
        let Some(Entry::Connection(connection)) = self.entries.get_mut(key) else { return };
        let writing = connection.session.wants_to_send();
        if connection.watched.is_some_and(|watched| watched != writing) {
            connection.watched = Some(writing);
            self.calls.control.add(1);
            let interest = if writing { READ_WRITE } else { READ };
            if let Err(error) = self.kernel.rewatch(connection.session.watched().0, key.to_word(), interest) {
                self.fail_with(key, error);
            }
        }
    }
}
