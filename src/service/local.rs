//! What the handlers of one service share on one loop.
//!
//! A loop has few of them, usually one or none. One whose handlers are gone makes room for the next. To the loop they are sources of
//! news, which it looks at before it sleeps, and places where handlers collect work until the end of the turn.

use std::any::Any;
use std::time::{Duration, Instant};

use crate::driver::Key;
use crate::panics;

/// Tells the time of the turn.
pub(crate) type Clock<'a> = dyn FnMut() -> Instant + 'a;

/// Something that belongs to a loop and is shared by some of its handlers.
pub(crate) trait Local: Any {
    /// Whether something has come from other threads. Asked also between the announcement of a sleep and the sleep.
    fn has_news(&self) -> bool;

    /// Takes what has come, and names the connections whose handlers are to be [woken](super::Handler::woken).
    fn collect(&mut self, keys: &mut Vec<Key>);

    /// Lets go of one thing that no handler has wanted since [`collect`](Self::collect). Answers whether there was one.
    fn forget_one(&mut self) -> bool;

    /// All handlers that are ready were called.
    fn end_turn(&mut self, clock: &mut Clock<'_>);

    /// How long the end of the next turn may be off, whatever happens; `None` for any time.
    fn rest(&self) -> Option<Duration>;

    /// Whether no handler knows its place any more.
    fn is_unused(&self) -> bool;
}

/// The locals of one loop. Those who share one know it by its number.
#[derive(Default)]
pub(crate) struct Locals(Vec<(u64, Box<dyn Local>)>);

impl Locals {
    /// The place of the local with this number, which is made if there is none.
    pub(crate) fn place(&mut self, number: u64, make: impl FnOnce() -> Box<dyn Local>) -> usize {
        if let Some(place) = self.0.iter().position(|(known, _)| *known == number) {
            return place;
        }
        let new = (number, make());
        match self.0.iter().position(|(_, local)| local.is_unused()) {
            Some(place) => {
                // What it still has belongs to the application, and not to the one whose handler comes by just now.
                panics::let_go(std::mem::replace(&mut self.0[place], new));
                place
            }
            None => {
                self.0.push(new);
                self.0.len() - 1
            }
        }
    }

    /// The local at a place, if it is of this kind.
    #[inline]
    pub(crate) fn get<L: Local>(&mut self, place: usize) -> Option<&mut L> {
        let (_, local) = self.0.get_mut(place)?;
        let local: &mut dyn Any = &mut **local;
        local.downcast_mut()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.0.iter().any(|(_, local)| local.has_news())
    }

    /// See [`Local::rest`].
    #[inline]
    pub(crate) fn rest(&self) -> Option<Duration> {
        self.0.iter().filter_map(|(_, local)| local.rest()).min()
    }

    /// Takes one out, for a loop that ends.
    pub(crate) fn pop(&mut self) -> Option<Box<dyn Local>> {
        self.0.pop().map(|(_, local)| local)
    }

    /// The locals, whatever they are.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut (dyn Local + 'static)> {
        self.0.iter_mut().map(|(_, local)| &mut **local)
    }

    /// The local at a place, whatever it is.
    pub(crate) fn at(&mut self, place: usize) -> Option<&mut (dyn Local + 'static)> {
        self.0.get_mut(place).map(|(_, local)| &mut **local)
    }
}
