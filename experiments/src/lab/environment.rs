//! Where a measurement was made; without it the numbers mean little.

use std::fmt;
use std::fs;

use serde::Serialize;

use crate::affinity;

/// The machine and the build, as far as they can be found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    /// Processors this process may use.
    pub(crate) cpus: usize,
    pub(crate) virtual_machine: bool,
    /// Frequency governor of the first processor; `None` where there is no such choice.
    pub(crate) governor: Option<String>,
    /// Over 1, 5 and 15 minutes, before the run.
    pub(crate) load_average: String,
    pub(crate) lab: &'static str,
    pub(crate) rustc: &'static str,
    /// `release` or `debug`; debug numbers say nothing.
    pub(crate) build: &'static str,
    /// Where server and load ran; `None`: one processor, nothing was pinned.
    pub(crate) server_and_load_cpu: Option<(usize, usize)>,
}

impl Environment {
    /// Looks around. Whatever cannot be found out is `unknown`.
    pub(crate) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.split(':').next().map(str::trim) == Some(name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_string())
        };
        let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
        let governor = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            kernel: kernel(),
            cpu: field("model name").unwrap_or_else(|| "unknown".into()),
            cpus: affinity::allowed().len(),
            virtual_machine: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            governor: governor.ok().map(|text| text.trim().to_string()),
            load_average: average.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            lab: env!("CARGO_PKG_VERSION"),
            rustc: env!("LAB_RUSTC"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            server_and_load_cpu: affinity::pair(),
        }
    }
}

fn kernel() -> String {
    let Ok(name) = nix::sys::utsname::uname() else { return "unknown".into() };
    let parts = [name.sysname(), name.release(), name.machine()];
    parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = if self.virtual_machine { "a virtual machine" } else { "no hypervisor seen" };
        writeln!(f, "kernel     {}", self.kernel)?;
        writeln!(f, "processor  {} x {}, {machine}", self.cpus, self.cpu)?;
        let governor = self.governor.as_deref().unwrap_or("none");
        writeln!(f, "load       {} before the run; frequency governor: {governor}", self.load_average)?;
        writeln!(f, "build      lab {} ({}), {}", self.lab, self.build, self.rustc)?;
        match self.server_and_load_cpu {
            Some((server, load)) => write!(f, "pinned     server to processor {server}, load to {load}"),
            None => write!(f, "pinned     nothing: one processor is shared by server and load"),
        }
    }
}
