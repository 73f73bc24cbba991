//! How the kernel's fair scheduler treats a thread: sched_getattr(2), sched_setattr(2), sched(7).
//!
//! KERNEL: since Linux 6.12 threads of the fair policies may ask for the length of their time slice, from 0.1 to 100 ms,
//! without any privilege; the field is `sched_runtime`. It is no larger share of the processor, but the same share in
//! smaller pieces, and earlier: of those who have some of their share left, the one whose slice would end first is
//! next, and who wakes up with a shorter slice than the one that runs takes over at once. Older kernels ignore the
//! field, and answer zero in it.
#![expect(unsafe_code, reason = "neither libc nor nix has functions for these system calls")]

use std::io;
use std::mem::size_of;
use std::time::Duration;

use libc::sched_attr;

use super::site::{Site, at};

/// The least urgent nice value.
const NICEST: i32 = 19;

/// Gives the calling thread a slice, and adds to its nice value. Both are inherited by threads that it starts later.
/// A thread that is under none of the fair policies is left as it is: somebody has decided about it.
///
/// # Errors
/// When the kernel refuses, or (`ErrorKind::Unsupported`, and the nice value is set) does not know slices.
pub(crate) fn schedule(slice: Option<Duration>, nicer: u8) -> io::Result<()> {
    let mut attributes = read()?;
    let policy = i32::try_from(attributes.sched_policy).unwrap_or(-1);
    if !matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH) {
        return Ok(());
    }
    let knows_slices = attributes.sched_runtime > 0;
    attributes.sched_nice = (attributes.sched_nice + i32::from(nicer)).min(NICEST);
    if let Some(slice) = slice.filter(|_| knows_slices) {
        // Zero would mean the usual one. The kernel brings all others within its bounds.
        attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX).max(1);
    }
    write(&attributes)?;
    if slice.is_some() && !knows_slices {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel does not let threads choose a slice",
        ));
    }
    Ok(())
}

/// sched_getattr(2) of the calling thread.
fn read() -> io::Result<sched_attr> {
    #[expect(clippy::cast_possible_truncation, reason = "48 bytes")]
    const SIZE: u32 = size_of::<sched_attr>() as u32;
    let mut attributes = sched_attr {
        size: SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    at(Site::SchedulingRead, || {
        // SAFETY: the kernel writes at most `SIZE` bytes of what may be any bytes.
        result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) })
    })?;
    Ok(attributes)
}

/// sched_setattr(2) of the calling thread.
fn write(attributes: &sched_attr) -> io::Result<()> {
    at(Site::SchedulingWrite, || {
        // SAFETY: the kernel reads as many bytes as the value says that it has.
        result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) })
    })
}

fn result(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has become of a thread of its own.
    fn scheduled(slice: Option<Duration>, nicer: u8) -> (i32, sched_attr, sched_attr) {
        let thread = std::thread::spawn(move || {
            let before = read().expect("attributes");
            // It fails where slices are not known, and sets the rest.
            let done = schedule(slice, nicer);
            assert_eq!(done.is_ok(), slice.is_none() || before.sched_runtime > 0);
            let heir = std::thread::spawn(|| read().expect("attributes"));
            (before.sched_nice, read().expect("attributes"), heir.join().expect("it ends"))
        });
        thread.join().expect("it ends")
    }

    #[test]
    fn a_thread_gets_what_it_asks_for() {
        let slice = Duration::from_micros(300);
        let (nice, now, heir) = scheduled(Some(slice), 2);
        assert_eq!((now.sched_nice, heir.sched_nice), ((nice + 2).min(NICEST), (nice + 2).min(NICEST)));
        if now.sched_runtime > 0 {
            assert_eq!((now.sched_runtime, heir.sched_runtime), (300_000, 300_000));
        }
        let usual = read().expect("attributes");
        let (nice, now, _) = scheduled(None, u8::MAX);
        assert_eq!((now.sched_nice, now.sched_runtime), (NICEST, usual.sched_runtime), "nice {nice} before");
    }

    #[test]
    fn the_kernel_bounds_slices() {
        for (slice, least, most) in
            [(Duration::ZERO, 100_000, 100_000), (Duration::MAX, 100_000_000, 100_000_000)]
        {
            let (_, now, _) = scheduled(Some(slice), 0);
            assert!(now.sched_runtime == 0 || (least..=most).contains(&now.sched_runtime), "{slice:?}");
        }
    }
}
