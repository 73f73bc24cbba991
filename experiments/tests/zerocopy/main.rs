//! Sending by reference over real sockets: what is lent, what comes back, and that memory never gets into other hands
//! before.
//!
//! Over plain loopback the kernel copies when it delivers, and says so; until then it really reads from our pages, so it
//! is a bed for safety. Where a program of the express data path sits on the receiving interface, pages are lent all the
//! way. See `bed.rs`.
#![cfg(feature = "zerocopy")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bed;
mod ending;
mod lending;
mod played;
mod property;
mod refusing;
#[path = "../support/skip.rs"]
mod skip;
mod way;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use linkpoll::buffer::{BlockPool, Chain, Segment, Tail};
use linkpoll::driver::epoll::{EpollOptions, Socket};
use linkpoll::driver::{Driver as _, Event, Key, Lending, Token};
use linkpoll::net::Address;
use linkpoll_conformance::{Peer as _, Rig, SocketBed, SocketPeer, pattern};
use linkpoll_experiments::zerocopy::{self, LendingStats, ZerocopyEpoll, ZerocopyOptions};

/// Longer than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to notice what must not happen.
const MOMENT: Duration = Duration::from_millis(60);
const LARGE: usize = 64 << 10;
/// More blocks of that size than a test lends.
const SCRIBBLES: usize = 40;

/// Drivers that lend what is large.
struct Lender {
    options: ZerocopyOptions,
    /// Where it has laid pieces.
    laid: RefCell<BTreeSet<usize>>,
}

impl Default for Lender {
    fn default() -> Self {
        Self::with(ZerocopyOptions { patience: Duration::from_millis(300), ..ZerocopyOptions::default() })
    }
}

impl Lender {
    fn with(options: ZerocopyOptions) -> Self {
        Self { options, laid: RefCell::default() }
    }
}

impl SocketBed for Lender {
    type Driver = ZerocopyEpoll;

    fn driver(&self, memory: usize) -> ZerocopyEpoll {
        let options = EpollOptions { memory, ..EpollOptions::default() };
        zerocopy::driver(options, self.options).expect("an epoll instance can be had")
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        Socket { fd, peer: Box::new(peer) }
    }

    /// In a block of its own.
    fn piece(&self, driver: &mut ZerocopyEpoll, key: Key, piece: Segment) -> Segment {
        let mut tail = driver.alloc_send(key, piece.len()).expect("the pool has a block");
        tail.spare()[..piece.len()].copy_from_slice(&piece);
        let laid = tail.commit(piece.len());
        self.laid.borrow_mut().insert(laid.as_ptr().addr());
        laid
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

type LendingRig<'a> = Rig<'a, Lender>;

fn stats(rig: &mut LendingRig<'_>) -> linkpoll::sync::Arc<LendingStats> {
    rig.driver.path().stats()
}

fn piece(from: usize, n: usize) -> Chain {
    Segment::from(pattern(from, n)).into()
}

/// Holds a block of every slab, so that none is unmapped when its other blocks are free: they are used again then.
/// Answers what holds them.
fn hold_slabs(pool: &BlockPool) -> Vec<Tail> {
    // Four blocks of this size are mapped together, and given out in order.
    let blocks: Vec<Tail> = (0..SCRIBBLES).map(|_| pool.allocate(LARGE).unwrap()).collect();
    blocks.into_iter().step_by(4).collect()
}

/// Overwrites every byte that the pool is ready to give to somebody else. Answers where.
fn scribble(pool: &BlockPool) -> BTreeSet<usize> {
    let mut blocks = Vec::new();
    while blocks.len() < SCRIBBLES
        && let Ok(mut tail) = pool.allocate(LARGE)
    {
        tail.spare().fill(b'!');
        blocks.push(tail);
    }
    blocks.iter_mut().map(|tail| tail.spare().as_ptr().addr()).collect()
}

/// Reads on a thread of its own.
fn reads(mut peer: SocketPeer, n: usize) -> std::thread::JoinHandle<(SocketPeer, Vec<u8>)> {
    std::thread::spawn(move || {
        let bytes = peer.read(n);
        (peer, bytes)
    })
}
