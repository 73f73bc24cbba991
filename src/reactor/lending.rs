//! Memory of the driver's, as the writer of the loop asks for it during a call.

use crate::buffer::{AllocError, Source, Tail};
use crate::driver::{Driver, Key};

/// Memory of the driver's for what is sent on one connection.
pub(super) struct SendMemory<'a, D> {
    pub(super) driver: &'a mut D,
    pub(super) key: Key,
}

impl<D: Driver> Source for SendMemory<'_, D> {
    fn allocate(&mut self, bytes: usize) -> Result<Tail, AllocError> {
        self.driver.alloc_send(self.key, bytes)
    }
}
