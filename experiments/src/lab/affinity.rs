//! Which processors this process may use, and pinning a thread to some of them.

use std::fs;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::LabError;

/// A set of processors as the kernel writes it: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuList(pub(crate) Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number =
                |digits: &str| digits.trim().parse::<usize>().ok().filter(|cpu| *cpu < CpuSet::count());
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
                _ => return Err("a list of processors looks like `0,2-3`".to_string()),
            }
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

/// Pins the calling thread. Makes one system call and allocates nothing, so it may run between `fork` and `exec`.
///
/// # Errors
/// `EINVAL` where none of the processors exists or may be used.
pub(crate) fn pin(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Pins the calling thread, and those it starts from now on, to the processors of `--cpus`.
///
/// # Errors
/// None of them exists or may be used.
pub(crate) fn obey(list: &CpuList) -> Result<(), LabError> {
    let text = |cpus: &[usize]| cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    pin(&list.0).map_err(|errno| match errno {
        Errno::EINVAL => LabError::Unavailable(format!(
            "no processor of --cpus {} may be used; these may: {}",
            text(&list.0),
            text(&allowed())
        )),
        other => LabError::system("pin to the processors of --cpus")(other),
    })
}

/// The processors the calling thread may run on, in order.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

/// Two processors, one for the server and one for the load, on different physical cores where there are two.
/// `None` where only one may be used.
pub(crate) fn pair() -> Option<(usize, usize)> {
    let allowed = allowed();
    let (server, others) = allowed.split_first()?;
    let core = physical_core(*server);
    let load = others.iter().find(|cpu| physical_core(**cpu) != core).or_else(|| others.first())?;
    Some((*server, *load))
}

/// Package and core; processors that share both share execution units.
fn physical_core(cpu: usize) -> Option<(String, String)> {
    let read = |name: &str| {
        fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{name}"))
            .map(|text| text.trim().to_string())
            .ok()
    };
    // Without this the processors cannot be told apart, and the number itself stands for the core.
    match (read("physical_package_id"), read("core_id")) {
        (Some(package), Some(core)) => Some((package, core)),
        _ => Some((String::new(), cpu.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!("3,0-1,1".parse(), Ok(CpuList(vec![0, 1, 3])));
        for wrong in ["", "a", "2-1", "1,", "999999"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_thread_can_be_pinned_to_a_processor_it_may_use() {
        let first = allowed()[0];
        std::thread::spawn(move || {
            pin(&[first]).unwrap();
            assert_eq!(allowed(), [first]);
        })
        .join()
        .unwrap();
    }
}
