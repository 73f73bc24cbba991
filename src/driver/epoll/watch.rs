//! Keeps what the kernel watches for in step with what the slots want, before each wait.

use super::path::SendPath;
use super::slot::Kind;
use super::{Epoll, Kernel};
use crate::driver::{Event, Key};

impl<K: Kernel, S: SendPath<K>> Epoll<K, S> {
    /// Notes that what a slot wants to be told of may have changed.
    pub(super) fn mark_stale(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key)
            && !slot.stale
        {
            slot.stale = true;
            self.stale.push(key);
        }
    }

    /// Makes the changes that are left over once everything noted is summed up.
    pub(super) fn update_watches(&mut self) {
        let edge = self.edge();
        while let Some(key) = self.stale.pop() {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            slot.stale = false;
            let wanted = slot.interest(edge, S::LENDS && self.path.is_lent(&slot.line));
            if wanted == slot.watched {
                continue;
            }
            self.calls.control.add(1);
            let result = match (slot.watched, wanted) {
                (Some(_), Some(interest)) => self.kernel.rewatch(slot.fd(), key.to_word(), interest),
                (None, Some(interest)) => self.kernel.watch(slot.fd(), key.to_word(), interest),
                (_, None) => self.kernel.unwatch(slot.fd()),
            };
            match result {
                // The old watch stays. Whoever is told lets the listener rest, which leads back here.
                Err(error) if slot.kind == Kind::Listener => {
                    self.events.push_back(Event::AcceptFailed(key, error));
                }
                Err(error) => {
                    slot.watched = wanted;
                    self.fail(key, error);
                }
                Ok(()) => slot.watched = wanted,
            }
        }
    }
}
