//! Kernels that refuse to take more by reference.

use std::fs;

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setuid};

use super::*;

/// More large pieces than the limits allow to be lent, to a peer that reads late.
fn overlend(lender: &Lender, pieces: usize) {
    let mut rig = Rig::new(lender);
    let stats = stats(&mut rig);
    let (key, peer) = rig.pair();
    let size = lender.options.least;
    for round in 0..pieces {
        rig.send_chain(key, piece(round * size, size), Some(round as u64));
    }
    rig.linger(MOMENT);
    assert!(stats.refusals.get() > 0, "nothing was refused: {stats:?}");
    let reader = reads(peer, pieces * size);
    rig.until("everything is sent and released", |rig| {
        rig.tokens.is_empty() && rig.log(key).sent == rig.log(key).given
    });
    assert!(reader.join().unwrap().1 == pattern(0, pieces * size), "other bytes");
    assert_eq!(stats.lent_now(), 0, "{stats:?}");
    rig.finish();
}

/// The socket's option memory is used up: each call that lends and each notification takes some of it.
#[test]
fn without_option_memory_sends_are_copied() {
    let prepare = || {
        bed::namespace()?;
        fs::write("/proc/sys/net/core/optmem_max", "2048")
    };
    bed::on("without_option_memory_sends_are_copied", prepare, |()| {
        overlend(&Lender::with(ZerocopyOptions { least: LARGE, ..Lender::default().options }), 30);
    });
}

/// The user's locked memory is used up.
#[test]
fn without_locked_memory_sends_are_copied() {
    linkpoll_conformance::isolated(module_path!(), "without_locked_memory_sends_are_copied", || {
        let prepare = || {
            setrlimit(Resource::RLIMIT_MEMLOCK, 64 << 10, 64 << 10)?;
            // The limit is counted for each user, and does not bind one with the capability to lock memory.
            setgid(Gid::from_raw(65534))?;
            setuid(Uid::from_raw(65534))?;
            Ok(())
        };
        bed::on("without_locked_memory_sends_are_copied", prepare, |()| {
            overlend(&Lender::with(ZerocopyOptions { least: 4096, ..Lender::default().options }), 60);
        });
    });
}
