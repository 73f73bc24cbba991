//! Segments that are kept: they never change, whatever becomes of the rest.

use std::thread;

use bytes::Bytes;
use linkpoll::buffer::Segment;
use linkpoll_model::buffer::{Amount, Pick};

use super::check::{Checked, ensure, same, same_bytes};
use super::{LEASES, Machine};

impl Machine {
    pub(super) fn keep(&mut self, segment: Segment, bytes: Vec<u8>) {
        if self.leases.len() == LEASES {
            self.leases.pop_front();
            self.reference.leases.pop_front();
        }
        self.leases.push_back(segment);
        self.reference.leases.push_back(bytes);
    }

    pub(super) fn check_leases(&self) -> Checked {
        same("number of leases", self.leases.len(), self.reference.leases.len())?;
        for (index, (lease, expected)) in self.leases.iter().zip(&self.reference.leases).enumerate() {
            same(&format!("length of lease {index}"), lease.len(), expected.len())?;
            same_bytes(&format!("lease {index}"), lease, expected)?;
        }
        Ok(())
    }

    /// Takes a lease out of both sides.
    fn lease(&mut self, pick: Pick) -> Option<(Segment, Vec<u8>)> {
        let index = pick.index(self.leases.len())?;
        self.leases.remove(index).zip(self.reference.leases.remove(index))
    }

    pub(super) fn clone_lease(&mut self, pick: Pick) -> Checked {
        if let Some((lease, bytes)) = self.lease(pick) {
            self.keep(lease.clone(), bytes.clone());
            self.keep(lease, bytes);
        }
        Ok(())
    }

    pub(super) fn cut_lease(&mut self, pick: Pick, from: Amount, len: Amount) -> Checked {
        if let Some((lease, bytes)) = self.lease(pick) {
            let from = from.within(lease.len(), lease.len() / 2);
            let rest = lease.len() - from;
            let to = from + len.within(rest, rest / 2);
            self.keep(lease.slice(from..to), bytes[from..to].to_vec());
            self.keep(lease, bytes);
        }
        Ok(())
    }

    pub(super) fn split_lease(&mut self, pick: Pick, at: Amount) -> Checked {
        if let Some((mut lease, mut bytes)) = self.lease(pick) {
            let at = at.within(lease.len(), lease.len() / 2);
            let rest = bytes.split_off(at);
            self.keep(lease.split_to(at), bytes);
            self.keep(lease, rest);
        }
        Ok(())
    }

    pub(super) fn drop_lease(&mut self, pick: Pick) -> Checked {
        drop(self.lease(pick));
        Ok(())
    }

    pub(super) fn drop_lease_elsewhere(&mut self, pick: Pick) -> Checked {
        if let Some((lease, _)) = self.lease(pick) {
            thread::spawn(move || drop(lease)).join().map_err(|_| "dropping a lease on a thread panicked")?;
            self.pool.collect();
        }
        Ok(())
    }

    pub(super) fn drop_leases(&mut self) -> Checked {
        self.leases.clear();
        self.reference.leases.clear();
        Ok(())
    }

    pub(super) fn detach_lease(&mut self, pick: Pick) -> Checked {
        if let Some((lease, bytes)) = self.lease(pick) {
            let mut detached = lease.detach();
            ensure(detached.try_unique().is_some(), || "a detached segment shares its block".into())?;
            self.keep(detached, bytes);
        }
        Ok(())
    }

    pub(super) fn change_lease(&mut self, pick: Pick) -> Checked {
        if let Some((mut lease, mut bytes)) = self.lease(pick) {
            if let Some(unique) = lease.try_unique() {
                unique.iter_mut().chain(&mut bytes).for_each(|byte| *byte ^= 0x55);
            }
            self.keep(lease, bytes);
        }
        Ok(())
    }

    pub(super) fn lease_through_bytes(&mut self, pick: Pick) -> Checked {
        if let Some((lease, bytes)) = self.lease(pick) {
            let start = lease.as_ptr();
            let through = Segment::from(Bytes::from(lease));
            ensure(bytes.is_empty() || through.as_ptr() == start, || "the way through Bytes copies".into())?;
            self.keep(through, bytes);
        }
        Ok(())
    }

    pub(super) fn push_lease(&mut self, pick: Pick) -> Checked {
        if let Some((lease, bytes)) = self.lease(pick) {
            if let Some(left) = self.budget.checked_sub(bytes.len()) {
                self.budget = left;
                self.chain.push(lease.clone());
                self.reference.unread.extend(&bytes);
            }
            self.keep(lease, bytes);
        }
        Ok(())
    }
}
