//! Faults of memory that is in nobody's use.

use linkpoll::buffer::{BlockPool, PoolOptions};
use linkpoll::faults::{Fault, Plan, Site, executed};

/// Pages that cannot be exchanged stay as they are, with their bytes; they can be exchanged later.
pub(crate) fn check(site: Site, fault: Fault) -> String {
    const BYTES: usize = 64 << 10;
    let pool = BlockPool::new(PoolOptions::default());
    let mut tail = pool.allocate(BYTES).expect("a block");
    tail.spare()[..4].copy_from_slice(b"kept");
    let mut segment = tail.commit(4);
    drop(tail);
    let happened = executed(site, fault);
    let injected = Plan::new().fail(site, fault, 0, 1).inject();
    assert!(!segment.exchange_pages(), "it fails");
    drop(injected);
    assert_eq!(executed(site, fault), happened + 1, "it happens once");
    assert_eq!(&segment[..], b"kept");
    assert!(segment.exchange_pages(), "nothing is in the way any more");
    drop(segment);
    assert_eq!(pool.usage().free, pool.usage().mapped, "the block is back");
    "the pages stay as they are, and the caller is told".to_owned()
}
