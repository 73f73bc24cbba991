//! A child of fork(2) has none of its parent's regions, and does no harm when it drops them.
#![expect(unsafe_code, reason = "a process is forked")]

use std::num::NonZero;

use linkpoll_shm::region::{OwnRegion, PeerRegion};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

const LEN: usize = 16 << 10;

/// Runs something in a child, which must neither allocate nor panic, and answers how that ended.
fn in_child(run: impl FnOnce() -> bool) -> WaitStatus {
    // SAFETY: the child only makes system calls and touches memory of its own before it ends.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            let status = i32::from(!run());
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => waitpid(child, None).expect("it ends"),
    }
}

#[test]
fn a_child_can_neither_use_nor_unmap_a_region() {
    // Children die here on purpose, and nobody wants to look at them.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("no core files");
    let (own, fd) = OwnRegion::create(LEN).expect("a region");
    let peer = PeerRegion::accept(fd, LEN).expect("a region");
    for base in [own.base(), peer.base()] {
        let ended = in_child(|| {
            // SAFETY: it is the parent's; that the child dies of it is what is tested.
            let byte = unsafe { base.as_ptr().read_volatile() };
            byte == 0
        });
        assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{ended:?}");
    }

    // What the child puts in their place stays there when it drops them.
    let bases = [own.base(), peer.base()];
    let mut regions = Some((own, peer));
    let ended = in_child(|| {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        for base in bases {
            let (at, len) = (NonZero::new(base.as_ptr().addr()), NonZero::new(LEN));
            let Some(len) = len else { return false };
            // SAFETY: nothing is replaced.
            let mapped = unsafe { mmap_anonymous(at, len, protection, flags) };
            if mapped.is_err() {
                return false;
            }
            // SAFETY: mapped just now.
            unsafe { base.as_ptr().write_volatile(7) };
        }
        drop(regions.take());
        bases.iter().all(|base| {
            // SAFETY: still mapped, or the child dies.
            let byte = unsafe { base.as_ptr().read_volatile() };
            byte == 7
        })
    });
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    let (_own, peer) = regions.expect("the child has taken its copy only");
    // SAFETY: the parent's own, still there.
    assert_eq!(unsafe { peer.base().as_ptr().read_volatile() }, 0);
}
