//! What has come from other threads to those who share something on this loop.

use super::Reactor;
use crate::driver::Driver;

impl<D: Driver> Reactor<D> {
    /// Has each connection's handler called for which something has come. Answers whether anything had.
    #[inline]
    pub(super) fn visit_locals(&mut self) -> bool {
        self.locals.has_news() && self.visit_some()
    }

    fn visit_some(&mut self) -> bool {
        let mut keys = std::mem::take(&mut self.visited);
        for place in 0..self.locals.len() {
            if let Some(local) = self.locals.at(place) {
                local.collect(&mut keys);
            }
            for key in keys.drain(..) {
                self.call_woken(key);
            }
            // What is dropped here belongs to the application; a panic is no reason to keep the others.
            let forget_one = |it: &mut Self| it.locals.at(place).is_some_and(|local| local.forget_one());
            while self.guard(forget_one).unwrap_or(true) {}
        }
        self.visited = keys;
        true
    }

    /// Has the locals do what they have collected.
    #[cold]
    pub(super) fn end_turn_of_locals(&mut self) {
        let (driver, now) = (&self.driver, &mut self.now);
        let mut clock = || *now.get_or_insert_with(|| driver.now());
        self.locals.each().for_each(|local| local.end_turn(&mut clock));
    }
}
