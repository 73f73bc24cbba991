//! Counting what the kernel does.

use std::fs;

use nix::errno::Errno;

use super::{Answer, Finding, raw};

/// KERNEL: event types and the task clock of linux/perf_event.h.
const SOFTWARE: u32 = 1;
const TRACEPOINT: u32 = 2;
const TASK_CLOCK: u64 = 1;

/// Where the trace file system may be mounted.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

pub(super) fn examine() -> Vec<Finding> {
    vec![Finding::tried("perf software events", task_clock()), system_calls()]
}

fn task_clock() -> Result<String, Errno> {
    raw::perf_event_open(SOFTWARE, TASK_CLOCK).map(|_| "task-clock of this thread".into())
}

fn system_calls() -> Finding {
    let capability = "tracepoint raw_syscalls:sys_enter";
    let id = ROOTS.iter().find_map(|root| {
        let text = fs::read_to_string(format!("{root}/events/raw_syscalls/sys_enter/id")).ok()?;
        text.trim().parse::<u64>().ok()
    });
    match id {
        Some(id) => {
            let counter = raw::perf_event_open(TRACEPOINT, id);
            Finding::tried(capability, counter.map(|_| format!("event {id} can be counted")))
        }
        None => {
            let detail = "not to be seen: tracefs is not mounted, or not readable by this user".into();
            Finding { capability, answer: Answer::No, detail }
        }
    }
}
