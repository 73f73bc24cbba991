//! The kernel's own count of a thread's system calls: the tracepoint `raw_syscalls:sys_enter`, through perf events.

#![expect(unsafe_code, reason = "perf_event_open and its ioctl have no safe wrapper")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};

/// KERNEL: `PERF_TYPE_TRACEPOINT` of linux/perf_event.h.
const TRACEPOINT: u32 = 2;
/// KERNEL: the argument is a pointer to a filter expression.
const SET_FILTER: libc::Ioctl = libc::_IOW::<*mut libc::c_char>('$' as u32, 6);

/// The number of the tracepoint. Where tracefs is not mounted yet, it is for a moment, at a temporary directory.
///
/// # Errors
/// Why it cannot be had.
pub(crate) fn tracepoint() -> Result<u64, String> {
    let mounted = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    mounted.iter().find_map(|root| event_id(Path::new(root)).ok()).map_or_else(event_id_by_mounting, Ok)
}

fn event_id(root: &Path) -> Result<u64, String> {
    let path = root.join("events/raw_syscalls/sys_enter/id");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.trim().parse().map_err(|error| format!("{}: {error}", path.display()))
}

fn event_id_by_mounting() -> Result<u64, String> {
    let root = std::env::temp_dir().join(format!("lab-{}-tracefs", std::process::id()));
    fs::create_dir(&root).map_err(|error| format!("create {}: {error}", root.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let id = match mount(Some("tracefs"), &root, Some("tracefs"), flags, None::<&str>) {
        Ok(()) => {
            let id = event_id(&root);
            umount(&root).expect("what was mounted can be unmounted");
            id
        }
        Err(errno) => Err(format!("tracefs is not mounted, and mounting it failed: {}", errno.desc())),
    };
    fs::remove_dir(&root).expect("the directory is empty again");
    id
}

/// Counts the system calls that one thread enters, from its opening on.
pub(crate) struct Counter(File);

impl Counter {
    /// Counts the calls with these numbers; all calls where there are none.
    ///
    /// # Errors
    /// `EACCES` or `EPERM` where the user may not.
    pub(crate) fn open(tracepoint: u64, thread: i32, numbers: &[libc::c_long]) -> io::Result<Self> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
            size: u32,
            config: u64,
            rest: [u64; 6],
        }
        const SIZE: u32 = 64;
        const { assert!(size_of::<Attributes>() == SIZE as usize) };
        let attributes = Attributes { kind: TRACEPOINT, size: SIZE, config: tracepoint, rest: [0; 6] };
        // SAFETY: the structure is the first published version of perf_event_attr, says its own size, and outlives
        // the call; cpu -1 means anywhere, -1 no group, 8 close-on-exec.
        let result =
            unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, thread, -1, -1, 8_u64) };
        let descriptor = i32::try_from(Errno::result(result)?).map_err(io::Error::other)?;
        // SAFETY: the call has just created this descriptor and nothing else owns it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        if !numbers.is_empty() {
            let filter = numbers.iter().map(|number| format!("id == {number}")).collect::<Vec<_>>();
            let filter = CString::new(filter.join(" || "))?;
            // SAFETY: the argument is a text that ends with 0 and outlives the call, which copies it.
            Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), SET_FILTER, filter.as_ptr()) })?;
        }
        Ok(Self(file))
    }

    /// The calls so far.
    pub(crate) fn read(&mut self) -> u64 {
        let mut count = [0; 8];
        self.0.read_exact(&mut count).expect("a counter can be read");
        u64::from_ne_bytes(count)
    }
}

/// The threads of a process, each with its name.
pub(crate) fn threads(process: u32) -> Vec<(i32, String)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let thread = |task: io::Result<fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((path.file_name()?.to_str()?.parse().ok()?, name.trim().to_string()))
    };
    tasks.filter_map(thread).collect()
}

/// Whether a thread of a process is asleep in the kernel.
pub(crate) fn sleeps(process: u32, thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")).expect("the thread lives");
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
}
