//! Memory that can be shared safely, and memory that may be locked.

use std::fs;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::ftruncate;

use super::{Finding, explain, raw};

/// Larger limits are believed instead of tried.
const LARGEST_TRIAL: u64 = 64 << 20;
/// KERNEL: the bit of CAP_IPC_LOCK, which lifts the limit.
const CAP_IPC_LOCK: u64 = 1 << 14;

pub(super) fn examine() -> Vec<Finding> {
    vec![
        Finding::tried("memfd_create with seals", sealed_memory()),
        Finding::tried("F_SEAL_FUTURE_WRITE", one_writer()),
        locked_memory(),
    ]
}

fn sealed_memory() -> Result<String, Errno> {
    let memory = memfd_create("doctor", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&memory, 4096)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    match (ftruncate(&memory, 0), ftruncate(&memory, 8192)) {
        (Err(Errno::EPERM), Err(Errno::EPERM)) => Ok("sealed memory neither shrinks nor grows".into()),
        _ => Err(Errno::ENOTSUP),
    }
}

/// Memory that its owner goes on to write, and that nobody else can map for writing, however the descriptor came to them.
fn one_writer() -> Result<String, Errno> {
    let memory = memfd_create("doctor", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&memory, 4096)?;
    let mut writer = raw::Shared::map(&memory, 4096, true)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE))?;
    writer.write(7);
    let reader = raw::Shared::map(&memory, 4096, false)?;
    let again = raw::Shared::map(&memory, 4096, true);
    let written = nix::unistd::write(&memory, &[0]);
    match (reader.read(), again, written) {
        (7, Err(Errno::EPERM), Err(Errno::EPERM)) => {
            Ok("what is mapped for writing stays so, and nothing else can write: memory with one writer"
                .into())
        }
        _ => Err(Errno::ENOTSUP),
    }
}

fn locked_memory() -> Finding {
    let capability = "locked memory (RLIMIT_MEMLOCK)";
    let (soft, hard) = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok(limits) => limits,
        Err(errno) => return Finding::tried(capability, Err(errno)),
    };
    if soft == RLIM_INFINITY {
        return Finding::tried(capability, Ok("no limit".into()));
    }
    let beyond = usize::try_from(soft.saturating_add(64 << 10)).unwrap_or(usize::MAX);
    let trial = match soft <= LARGEST_TRIAL {
        true => match raw::lock_memory(beyond) {
            Ok(()) => "locking more than that worked".to_string(),
            Err(errno) => format!("locking more than that: {}", explain(errno)),
        },
        false => "too much to try".to_string(),
    };
    let meaning = if exempt() {
        "this user is exempt (CAP_IPC_LOCK)"
    } else {
        "all zerocopy sends in flight and registered buffers of this user share it"
    };
    let detail = format!("soft {} KiB, hard {}; {trial}; {meaning}", soft >> 10, kibibytes(hard));
    Finding::limit(capability, detail)
}

fn kibibytes(limit: u64) -> String {
    if limit == RLIM_INFINITY { "none".into() } else { format!("{} KiB", limit >> 10) }
}

fn exempt() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
}
