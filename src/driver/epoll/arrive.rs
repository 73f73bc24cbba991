//! Connections that come into being: accepted, or established from here.

use std::io;
use std::os::fd::AsFd as _;

use super::path::SendPath;
use super::slot::Kind;
use super::{Current, Epoll, Kernel, Socket};
use crate::driver::{Event, Key};
use crate::sys;

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// A connection that was being established is, or has failed.
    pub(super) fn finish_connect(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        self.calls.other.add(1);
        match self.kernel.connect_result(slot.fd.as_fd()) {
            Ok(()) => {
                slot.kind = Kind::Connection;
                self.mark_stale(key);
                self.events.push_back(Event::Connected(key));
                self.flush(key);
            }
            Err(error) => self.fail(key, error),
        }
    }

    /// Accepts once from a listener.
    pub(super) fn accept(&mut self, current: Current) {
        let Some(slot) = self.slots.get(current.key) else { return };
        if !slot.receiving {
            // It is watched still, because that could not be changed.
            return self.mark_stale(current.key);
        }
        self.calls.accept.add(1);
        match self.kernel.accept(slot.fd()) {
            Ok((fd, peer)) => {
                if current.budget > 1 {
                    self.batch.current = Some(Current { budget: current.budget - 1, ..current });
                }
                self.events.push_back(Event::Incoming(current.key, Socket { fd, peer: Box::new(peer) }));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if sys::is_of_one_connection(&error) => {
                if current.budget > 1 {
                    self.batch.current = Some(Current { budget: current.budget - 1, ..current });
                }
            }
            Err(error) => self.events.push_back(Event::AcceptFailed(current.key, error)),
        }
    }
}
