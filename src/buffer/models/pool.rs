//! Models of the pool: blocks that are dropped on foreign threads, the starved owner, and the end of a pool.

use super::{join, pooled, reader};
use crate::buffer::{AllocError, BlockPool, PoolOptions, Tail};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, Bell, FakeBell, thread};

struct Handle(Arc<FakeBell>);

impl Bell for Handle {
    fn ring(&self) {
        self.0.ring();
    }
}

/// A pool that may have one slab, and the bell of its owner.
fn small_pool() -> (BlockPool, Arc<FakeBell>) {
    let bell = Arc::new(FakeBell::new());
    let pool = BlockPool::new(PoolOptions { limit: LIMIT, bell: Some(Box::new(Handle(Arc::clone(&bell)))) });
    (pool, bell)
}

/// Room for one slab of the smallest class.
const LIMIT: usize = crate::sync::shrink(256 << 10, 4);
/// A request for all of that.
const ALL: usize = LIMIT;

/// B-5: a block that was dropped on another thread comes home, and its bytes may be written again.
///
/// Two threads hold the block, so the one that returns it must hand on the other's reads as well. The owner polls:
/// it is never woken. Absent: sleep (B-6).
/// Kills: Release of the push -> Relaxed; Acquire of `take_all` -> Relaxed; the Acquire fence of `release` -> none.
#[test]
fn a_block_dropped_elsewhere_comes_home() {
    model("buffer-pool-home", Bound::Preemptions(3), || {
        let (pool, _) = small_pool();
        let segment = written_all(&pool);
        let readers = [reader(segment.slice(..1), &[1]), reader(segment, &[1, 2])];
        let mut tail = loop {
            match pool.allocate(ALL) {
                Ok(tail) => break tail,
                Err(error) => assert_eq!(error, AllocError::Exhausted { limit: LIMIT }),
            }
            thread::yield_now();
        };
        tail.spare().fill(9);
        join(readers);
    });
}

/// The pool's only block, with two bytes written.
fn written_all(pool: &BlockPool) -> crate::buffer::Segment {
    let mut tail = pool.allocate(ALL).unwrap();
    super::written(&mut tail, &[1, 2])
}

/// B-6: an owner that found its pool at the limit is woken when a block comes back, and gets it.
///
/// The owner sleeps after each failed attempt; either of two holders is the one that returns the block, and must ring
/// if the owner has looked before. A lost wake-up shows as a deadlock. Absent: a second block (H-2 has many pushers).
/// Kills: fence F1 or F2 SeqCst -> AcqRel, Release of the push, Acquire of `take_all`.
#[test]
fn a_starved_owner_is_woken_by_the_returner() {
    model("buffer-pool-starved", Bound::Preemptions(3), || {
        let (pool, bell) = small_pool();
        let segment = written_all(&pool);
        let holders = [reader(segment.slice(..1), &[1]), reader(segment, &[1, 2])];
        let mut tail: Tail = loop {
            match pool.allocate(ALL) {
                Ok(tail) => break tail,
                Err(error) => assert_eq!(error, AllocError::Exhausted { limit: LIMIT }),
            }
            bell.wait();
        };
        tail.spare().fill(9);
        join(holders);
    });
}

/// M-7: an owner that waits for memory to become free, without wanting any, is woken for each block that comes back.
///
/// Two blocks come back from two threads; the owner looks and sleeps until both are free. Absent: an allocation that
/// fails (B-6).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a look before the flag is armed.
#[test]
fn an_owner_that_watches_is_woken_by_each_returner() {
    model("buffer-pool-watched", Bound::Preemptions(2), || {
        // The limit is never met.
        let (pool, bell) = small_pool();
        let readers = [reader(pooled(&pool, &[1]), &[1]), reader(pooled(&pool, &[2]), &[2])];
        loop {
            pool.collect_and_watch();
            let usage = pool.usage();
            if usage.free == usage.mapped {
                break;
            }
            bell.wait();
        }
        join(readers);
    });
}

/// B-7: when a pool is closed while its blocks are out, each slab is freed once, after the last read.
///
/// Two threads drop the two blocks of one slab while the owner closes the pool: each block is on its way home, or
/// finds the list closed and is answered for by its dropper. Headers are tracked, so a slab that nobody frees is a
/// leak; freeing writes all witnesses. Absent: blocks on the owner's thread (B-8).
/// Kills: AcqRel of `settle` -> Acquire or Release; Acquire of `close` -> Relaxed; an owner without a share of its own.
#[test]
fn a_slab_outlives_its_pool_until_the_last_block() {
    model("buffer-pool-closed", Bound::Preemptions(3), || {
        let pool = BlockPool::new(PoolOptions::default());
        let readers = [reader(pooled(&pool, &[1]), &[1]), reader(pooled(&pool, &[2]), &[2])];
        drop(pool);
        join(readers);
    });
}

/// B-8: blocks that outlive their pool on the owner's own thread are answered for there, next to foreign ones.
///
/// The slab has one block out on either thread when its pool ends. Absent: a second foreign thread (B-7).
/// Kills: AcqRel of `settle` -> Acquire or Release.
#[test]
fn the_owner_may_drop_blocks_after_the_pool() {
    model("buffer-pool-owner-last", Bound::Exhaustive, || {
        let pool = BlockPool::new(PoolOptions::default());
        let foreign = reader(pooled(&pool, &[1]), &[1]);
        let own = pooled(&pool, &[2]);
        drop(pool);
        assert_eq!(*own, [2]);
        drop(own);
        join([foreign]);
    });
}
