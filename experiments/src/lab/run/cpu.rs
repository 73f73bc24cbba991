//! Processor time of another process, in nanoseconds.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Processor time all threads of `process` have used so far. Exact while they sleep; a running thread lags behind
/// by at most a timer tick. `None` where the process is gone.
pub(crate) fn time(process: u32) -> Option<u64> {
    scheduler_time(process).or_else(|| tick_time(process))
}

/// Where [`time`] comes from on this machine.
pub(crate) fn source() -> &'static str {
    if scheduler_time(std::process::id()).is_some() { "schedstat, ns" } else { "stat, clock ticks" }
}

/// Processor time of the calling thread; 0 where that cannot be read.
pub(crate) fn own_thread() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn scheduler_time(process: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    // Kernels without scheduler statistics have the file and write zeros.
    (sum > 0).then_some(sum)
}

fn tick_time(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks_per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(ticks(&text)? * (1_000_000_000 / ticks_per_second))
}

/// User and system ticks: the 14th and 15th field, counted behind the name, which may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_while_working() {
        let before = time(std::process::id()).unwrap();
        let started = std::time::Instant::now();
        // However few of the processors' time this process gets.
        while time(std::process::id()).unwrap() - before < 20_000_000 {
            assert!(started.elapsed().as_secs() < 60, "no time has passed");
        }
    }

    #[test]
    fn a_name_with_spaces_and_brackets_is_skipped() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 40 2 0"), Some(42));
        assert_eq!(ticks("no such thing"), None);
    }

    #[test]
    fn a_process_that_is_gone_has_no_time() {
        assert_eq!(time(u32::MAX), None);
    }
}
