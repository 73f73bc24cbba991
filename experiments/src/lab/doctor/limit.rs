//! File descriptors and processors.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Finding;
use crate::affinity;

pub(super) fn examine() -> Vec<Finding> {
    vec![descriptors(), pinning(), looking()]
}

fn descriptors() -> Finding {
    let capability = "file descriptors (RLIMIT_NOFILE)";
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(errno) => return Finding::tried(capability, Err(errno)),
    };
    let system = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/{name}"));
        text.map_or_else(|_| "unknown".to_string(), |text| text.trim().to_string())
    };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    // Put back; a limit may always be lowered to what it was.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    let raised =
        if raised.is_ok() { "the soft one can be raised to it" } else { "the soft one cannot be raised" };
    let (ceiling, whole) = (system("nr_open"), system("file-max"));
    let detail = format!("soft {soft}, hard {hard}: {raised}; fs.nr_open {ceiling}, fs.file-max {whole}");
    Finding::limit(capability, detail)
}

/// Pins a thread of its own to each processor in turn.
fn pinning() -> Finding {
    let capability = "pinning to a processor";
    let attempt = std::thread::spawn(|| {
        let allowed = affinity::allowed();
        allowed.iter().try_for_each(|cpu| affinity::pin(&[*cpu])).map(|()| allowed.len())
    });
    match attempt.join() {
        Ok(outcome) => {
            let detail = |count| match count {
                1 => "one processor: server and load would share it".to_string(),
                count => format!("{count} processors"),
            };
            Finding::tried(capability, outcome.map(detail))
        }
        Err(_) => Finding::limit(capability, "the attempt did not end".into()),
    }
}

/// Where two sides that look for news instead of sleeping would run.
fn looking() -> Finding {
    let capability = "processors for two sides that spin";
    let allowed = affinity::allowed().len();
    // KERNEL: cgroups(7), version 2: microseconds of quota, or `max`, and the period.
    let quota = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok().and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    });
    let limit = quota.map_or("no quota".to_owned(), |quota| format!("a quota of {quota:.1} of them"));
    let enough = allowed >= 2 && quota.is_none_or(|quota| quota >= 2.0);
    let verdict = if enough { "one for each side" } else { "not one for each side: use `--spin never`" };
    let detail = format!("{allowed}, {limit}: {verdict}");
    if enough { Finding::tried(capability, Ok(detail)) } else { Finding::limit(capability, detail) }
}
