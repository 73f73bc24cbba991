//! Accepting, connecting, and the handshakes of both.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Instant;

use linkpoll::driver::epoll::Kernel as _;
use linkpoll::driver::{Event, Key};
use linkpoll::net::Address;

use super::entry::{Connection, Entry};
use super::{ACCEPTING, EDGE, READ, READ_WRITE, RUNG, ShmDriver, ShmSocket};
use crate::handshake::{Handshake, Progress};
use crate::session::Session;
use crate::wire::{Control, Frame, Refusal};

/// Connections accepted from one listener in one turn.
const ACCEPTS: usize = 16;

/// The handshake of a connection that a listener has accepted.
#[derive(Debug)]
pub(super) struct Accepting {
    handshake: Handshake,
    listener: Key,
    peer: Address,
    /// What epoll reports: also room to send.
    writing: bool,
}

impl ShmDriver {
    /// Accepts what waits, as long as there is room for handshakes.
    pub(super) fn accept(&mut self, listener: Key) {
        for _ in 0..ACCEPTS {
            let Some(Entry::Listener(entry)) = self.entries.get(listener) else { return };
            if !entry.receiving {
                return;
            }
            if self.accepting.len() >= self.options.handshakes {
                return self.rest_listeners();
            }
            self.calls.accept.add(1);
            let (fd, peer) = match self.kernel.accept(entry.fd.as_fd()) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if linkpoll::driver::system::is_of_one_connection(&error) => continue,
                Err(error) => return self.events.push_back(Event::AcceptFailed(listener, error)),
            };
            let Ok(handshake) = Handshake::server(fd, &self.options.session, Instant::now()) else {
                self.statistics.handshakes.count_resources();
                continue;
            };
            let key = self.name_accepting();
            self.calls.control.add(1);
            if self.kernel.watch(handshake.as_fd(), key.to_word() | ACCEPTING, READ).is_err() {
                self.statistics.handshakes.count_resources();
                continue;
            }
            self.accepting.insert(key, Accepting { handshake, listener, peer, writing: false });
            self.advance_accepting(key);
        }
    }

    /// A key of the driver's own, for a handshake.
    fn name_accepting(&mut self) -> Key {
        self.next_handshake = self.next_handshake.wrapping_add(1);
        let most = u32::try_from(self.options.handshakes).unwrap_or(u32::MAX >> 1);
        let slot = (0..=most).find(|&slot| self.accepting.key_of(slot).is_none()).unwrap_or(0);
        Key::new(slot, self.next_handshake)
    }

    /// Goes on with a handshake of an accepted connection.
    pub(super) fn advance_accepting(&mut self, key: Key) {
        let Some(entry) = self.accepting.get_mut(key) else { return };
        match entry.handshake.advance(Instant::now()) {
            Progress::NeedRead => self.watch_accepting(key, false),
            Progress::NeedWrite => self.watch_accepting(key, true),
            Progress::Done(established) => {
                let Some(entry) = self.accepting.remove(key) else { return };
                self.calls.control.add(1);
                let unwatched = { self.kernel.unwatch(established.control.as_fd()) };
                match unwatched.and_then(|()| Session::new(*established)) {
                    Ok(session) => {
                        self.statistics.sessions_accepted += 1;
                        let socket = ShmSocket::new(session, entry.peer);
                        self.events.push_back(Event::Incoming(entry.listener, socket));
                    }
                    Err(_) => self.statistics.handshakes.count_resources(),
                }
                self.wake_listeners();
            }
            Progress::Asked(control) => {
                self.accepting.remove(key);
                self.answer(*control);
                self.wake_listeners();
            }
            Progress::Failed(error) => {
                self.statistics.handshakes.count(&error);
                self.accepting.remove(key);
                self.wake_listeners();
            }
        }
    }

    /// Ends the handshakes of a listener that is closed: whoever comes is told to come again, elsewhere.
    pub(super) fn turn_away(&mut self, listener: Key) {
        for key in self.accepting.keys().collect::<Vec<_>>() {
            if self.accepting.get(key).is_some_and(|entry| entry.listener == listener)
                && let Some(entry) = self.accepting.remove(key)
            {
                self.statistics.handshakes.count(&entry.handshake.refuse(Refusal::Leaving));
            }
        }
    }

    fn watch_accepting(&mut self, key: Key, writing: bool) {
        let Some(entry) = self.accepting.get_mut(key) else { return };
        if entry.writing != writing {
            entry.writing = writing;
            self.calls.control.add(1);
            let interest = if writing { READ_WRITE } else { READ };
            // If that fails, the deadline ends the handshake.
            let _ = self.kernel.rewatch(entry.handshake.as_fd(), key.to_word() | ACCEPTING, interest);
        }
    }

    /// Tells somebody who asks how we are, and closes.
    fn answer(&mut self, mut control: Control) {
        self.count_active();
        self.board.show(&self.statistics);
        let text = self.options.statistics.to_string();
        // Who asks and does not read gets what fits into the socket.
        let _ = control.send(Frame::Statistics(text));
    }

    /// Goes on with the handshake of a connection of ours.
    pub(super) fn advance_connecting(&mut self, key: Key) {
        let Some(Entry::Connecting(connecting)) = self.entries.get_mut(key) else { return };
        match connecting.handshake.advance(Instant::now()) {
            Progress::NeedRead => self.watch_connecting(key, false),
            Progress::NeedWrite => self.watch_connecting(key, true),
            Progress::Done(established) => {
                let Some(Entry::Connecting(connecting)) = self.entries.remove(key) else { return };
                match Session::new(*established) {
                    Ok(session) => {
                        let mut connection =
                            Connection::new(ShmSocket::new(session, connecting.address.clone()));
                        connection.unsent = connecting.unsent;
                        connection.receiving = connecting.receiving;
                        connection.wanted = connecting.wanted;
                        connection.ending = connecting.ending;
                        // The socket is watched already.
                        connection.watched = Some(connecting.writing);
                        self.entries.insert(key, Entry::Connection(Box::new(connection)));
                        self.count_in(key);
                        self.events.push_back(Event::Connected(key));
                        if let Err(error) = self.watch_bell(key) {
                            return self.fail_with(key, error);
                        }
                        self.activate(key);
                        self.flush(key);
                    }
                    Err(error) => self.connect_failed(key, error),
                }
            }
            Progress::Asked(_) => self.connect_failed(key, io::ErrorKind::InvalidData.into()),
            Progress::Failed(error) => {
                self.statistics.handshakes.count(&error);
                self.connect_failed(key, io::Error::from(error));
            }
        }
    }

    fn watch_connecting(&mut self, key: Key, writing: bool) {
        let Some(Entry::Connecting(connecting)) = self.entries.get_mut(key) else { return };
        if connecting.writing != writing {
            connecting.writing = writing;
            self.calls.control.add(1);
            let interest = if writing { READ_WRITE } else { READ };
            // If that fails, the deadline ends the handshake.
            let _ = self.kernel.rewatch(connecting.handshake.as_fd(), key.to_word(), interest);
        }
    }

    /// Keeps a dead key for the caller to close.
    fn connect_failed(&mut self, key: Key, error: io::Error) {
        if let Some(Entry::Connecting(connecting)) = self.entries.remove(key) {
            self.release_all(connecting.unsent);
            self.entries.insert(key, Entry::Failed);
        }
        self.events.push_back(Event::Error(key, error));
    }

    /// Ends handshakes whose time is over. Answers when the next one's is.
    pub(super) fn mind_deadlines(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut late = Vec::new();
        for key in self.accepting.keys() {
            let deadline = self.accepting.get(key).and_then(|entry| entry.handshake.deadline());
            match deadline {
                Some(deadline) if deadline > now => {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                }
                _ => late.push((key, true)),
            }
        }
        for &key in &self.connecting {
            let Some(Entry::Connecting(entry)) = self.entries.get(key) else { continue };
            match entry.handshake.deadline() {
                Some(deadline) if deadline > now => {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                }
                _ => late.push((key, false)),
            }
        }
        for (key, accepted) in late {
            if accepted { self.advance_accepting(key) } else { self.advance_connecting(key) }
        }
        let entries = &self.entries;
        self.connecting.retain(|&key| matches!(entries.get(key), Some(Entry::Connecting(_))));
        next
    }

    /// Too many handshakes: no listener is watched until one of them is over.
    fn rest_listeners(&mut self) {
        self.listeners_rest = true;
        for key in self.entries.keys().collect::<Vec<_>>() {
            self.watch_listener(key);
        }
    }

    fn wake_listeners(&mut self) {
        if std::mem::take(&mut self.listeners_rest) {
            for key in self.entries.keys().collect::<Vec<_>>() {
                self.watch_listener(key);
            }
        }
    }

    /// Brings the watch of a listener up to date.
    pub(super) fn watch_listener(&mut self, key: Key) {
        let rest = self.listeners_rest;
        let Some(Entry::Listener(listener)) = self.entries.get_mut(key) else { return };
        let wanted = listener.receiving && !rest;
        if wanted != listener.is_watched {
            self.calls.control.add(1);
            let fd = listener.fd.as_fd();
            let changed =
                if wanted { self.kernel.watch(fd, key.to_word(), READ) } else { self.kernel.unwatch(fd) };
            match changed {
                Ok(()) => listener.is_watched = wanted,
                // The old watch stays. Whoever is told lets the listener rest, which leads back here.
                Err(error) => self.events.push_back(Event::AcceptFailed(key, error)),
            }
        }
    }

    /// Watches the eventfd of a session, where it has one.
    pub(super) fn watch_bell(&mut self, key: Key) -> io::Result<()> {
        let Some(Entry::Connection(connection)) = self.entries.get(key) else { return Ok(()) };
        let Some(bell) = connection.session.watched().1 else { return Ok(()) };
        self.calls.control.add(1);
        self.kernel.watch(bell, key.to_word() | RUNG, EDGE)
    }
}
