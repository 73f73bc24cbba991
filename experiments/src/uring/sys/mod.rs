//! The system calls of the uring driver: io_uring(7), through the crate `io-uring`, and entries of our own where that
//! lacks something. The only room of the driver that knows either.
//!
//! * A call that a signal interrupts is not made again: the loop that waits has a loop of its own.
//! * A ring belongs to one thread (`SINGLE_ISSUER`), and completions are made only when that thread asks for them
//!   (`DEFER_TASKRUN`). So nothing of a ring changes between two calls, and a loop that polls must enter the kernel
//!   with `GETEVENTS`: looking at the completion queue alone shows nothing, however long one looks.
//! * Whoever submits an operation has it read there and then (`IORING_FEAT_SUBMIT_STABLE`): the lists of pieces below
//!   are used again after each submission.

mod buffer_ring;
mod kernel_ring;
mod news;

pub use kernel_ring::KernelRing;
