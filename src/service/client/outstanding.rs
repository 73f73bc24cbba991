//! Calls whose requests are written and whose replies have not come.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::Waiting;
use crate::service::Codec;

/// A tag by which a client can tell its calls apart.
pub trait CallTag: Clone + Eq + Hash + Send + 'static {
    /// The tag of a call, by the call's number on its connection, from 0 on.
    fn numbered(number: u64) -> Self;
}

/// Replies come in the order of their requests.
impl CallTag for () {
    fn numbered(_number: u64) {}
}

impl CallTag for u64 {
    fn numbered(number: u64) -> Self {
        number
    }
}

/// See the module's documentation.
pub(super) struct Outstanding<C: Codec> {
    number: u64,
    /// In the order of their requests; for protocols without order, none.
    ordered: VecDeque<Waiting<C>>,
    tagged: HashMap<C::Tag, Waiting<C>>,
}

impl<C: Codec> Outstanding<C>
where
    C::Tag: CallTag,
{
    pub(super) fn new() -> Self {
        Self { number: 0, ordered: VecDeque::new(), tagged: HashMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.tagged.is_empty()
    }

    /// A tag that no call under way has.
    pub(super) fn fresh_tag(&mut self) -> C::Tag {
        let tag = C::Tag::numbered(self.number);
        self.number += 1;
        tag
    }

    /// A request is written.
    pub(super) fn push(&mut self, tag: C::Tag, waiting: Waiting<C>) {
        if C::ORDERED {
            self.ordered.push_back(waiting);
        } else {
            self.tagged.insert(tag, waiting);
        }
    }

    /// The call that a reply belongs to.
    pub(super) fn take(&mut self, tag: &C::Tag) -> Option<Waiting<C>> {
        if C::ORDERED { self.ordered.pop_front() } else { self.tagged.remove(tag) }
    }

    /// Takes the call back whose request was written last, of those not taken back.
    pub(super) fn take_back(&mut self, tag: &C::Tag) -> Option<Waiting<C>> {
        if C::ORDERED { self.ordered.pop_back() } else { self.tagged.remove(tag) }
    }

    /// Takes all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiting<C>> {
        self.ordered.drain(..).chain(self.tagged.drain().map(|(_, waiting)| waiting))
    }
}
