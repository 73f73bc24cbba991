//! Models of everything in the buffers that crosses threads: reference counts, the pool, and the LinkBuffer.
//!
//! Each byte of a block has a witness, a loom cell: looking at a segment reads it, being offered a tail's bytes
//! writes it, and so does the end of a block's count, after which its origin may do as it likes with the bytes. An
//! access that the code under test does not order is therefore a reported race, whatever the bytes hold. Headers of
//! blocks are tracked, so a block that is not released is a reported leak.
//!
//! Under the model checker blocks have 2 to 10 bytes, a slab has up to two blocks, and a chunk of a LinkBuffer one
//! slot, so that everything wraps around within a few steps.

mod count;
mod link;
mod pool;
mod writer;

use super::{BlockPool, Segment, Tail};
use crate::sync::thread::{self, JoinHandle};

/// The size of the smallest block of a pool under the model checker.
const BLOCK: usize = 2;

/// Writes `bytes` into the tail and cuts them off.
fn written(tail: &mut Tail, bytes: &[u8]) -> Segment {
    tail.spare()[..bytes.len()].copy_from_slice(bytes);
    tail.commit(bytes.len())
}

/// A segment of a block of the pool that nothing else holds.
fn pooled(pool: &BlockPool, bytes: &[u8]) -> Segment {
    let mut tail = pool.allocate(BLOCK).expect("the pool is below its limit");
    written(&mut tail, bytes)
}

/// A thread that looks at a segment and drops it.
fn reader(segment: Segment, expected: &'static [u8]) -> JoinHandle<()> {
    thread::spawn(move || assert_eq!(*segment, *expected))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
