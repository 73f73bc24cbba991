//! What all connections of one service share on one loop: the calls that are under way.
//!
//! Calls go out, one box each, to whoever answers them, and the boxes come back with the answers into the lane's tray.
//! The loop looks at the tray once a turn, and calls the handler of each connection that has answers there, once for
//! all of them; so what they write leaves in one piece.

use std::cmp::Reverse;

use super::Codec;
use super::call::{Answer, Boxed, Call, Caller, Home, Shop};
use super::local::Local;
use crate::driver::Key;
use crate::handover::{Parcel, Tray, Wake};

/// Boxes that are kept for later calls.
const MOST_SPARE: usize = 1024;

/// See the module's documentation.
pub(super) struct Lane<C: Codec> {
    tray: Tray<Call<C>, Shop<C>>,
    /// Boxes that have come back and are not taken yet: by key, smallest last, and for each key the oldest last.
    arrived: Vec<(Key, Boxed<C>)>,
    returned: Vec<Boxed<C>>,
    spare: Vec<Boxed<C>>,
    serials: u32,
}

impl<C: Codec> Lane<C> {
    pub(super) fn new(owner: Box<dyn Wake>, shop: Shop<C>) -> Self {
        Self {
            tray: Tray::new(owner, shop),
            arrived: Vec::new(),
            returned: Vec::new(),
            spare: Vec::new(),
            serials: 0,
        }
    }

    /// A number for a handler, to tell it from others that its connection may have.
    pub(super) fn next_serial(&mut self) -> u32 {
        self.serials = self.serials.wrapping_add(1);
        self.serials
    }

    /// The way of answers to this lane.
    pub(super) fn home(&self) -> Home<C> {
        self.tray.way_back()
    }

    /// A box for a call.
    pub(super) fn pack(&mut self, call: Call<C>) -> Boxed<C> {
        match self.spare.pop() {
            Some(mut spare) => {
                *spare.open() = call;
                spare
            }
            None => Parcel::new(call),
        }
    }

    /// The next answer for a handler, the oldest first.
    pub(super) fn next(&mut self, key: Key, serial: u32) -> Option<(Caller, C::Tag, Answer<C>)> {
        // Those of smaller keys are for handlers that did not want them.
        while let Some((_, mut call)) = self.arrived.pop_if(|(of, _)| *of <= key) {
            let content = call.open();
            let (from, tag, answer) = (content.from, content.tag.take(), content.answer.take());
            self.keep(call);
            if let (Some(tag), Some(answer)) = (tag, answer)
                && (from.key, from.serial) == (key, serial)
            {
                return Some((from, tag, answer));
            }
        }
        None
    }

    /// Keeps an empty box for later.
    fn keep(&mut self, call: Boxed<C>) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(call);
        }
    }
}

impl<C: Codec> Local for Lane<C> {
    fn has_news(&self) -> bool {
        !self.tray.is_empty()
    }

    fn collect(&mut self, keys: &mut Vec<Key>) {
        self.tray.take(&mut self.returned);
        // The newest comes first, and the sort is stable: of each key, the oldest is the last.
        self.arrived.extend(self.returned.drain(..).map(|mut call| (call.open().from.key, call)));
        self.arrived.sort_by_key(|(key, _)| Reverse(*key));
        keys.extend(self.arrived.iter().rev().map(|(key, _)| *key));
        keys.dedup();
    }

    fn forget(&mut self) {
        self.arrived.clear();
    }

    fn end_turn(&mut self) {}
}
