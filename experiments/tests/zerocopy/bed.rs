//! Networks for tests: namespaces of their own, with express data path programs where wanted. All of it belongs to the
//! thread that asks for it, and is gone with that thread, also when it crashes.
#![expect(unsafe_code, reason = "bpf(2) and ioctl(2) read memory by address")]

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::Pid;

use super::skip;

/// What a program does with every packet that comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
}

/// Where a program sits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// In the generic path, on any interface (`XDP_FLAGS_SKB_MODE`).
    Generic,
    /// In the driver of the interface (`XDP_FLAGS_DRV_MODE`).
    Native,
}

/// A program on an interface, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Xdp {
    _link: OwnedFd,
}

impl Xdp {
    /// Attaches a program to an interface of the calling thread's namespace.
    pub(crate) fn attach(interface: u32, mode: Mode, verdict: Verdict) -> io::Result<Self> {
        // KERNEL: linux/bpf.h: `mov r0, verdict; exit`.
        let program: [u64; 2] = [0xb7 | (verdict as u64 + 1) << 32, 0x95];
        #[repr(C)]
        #[derive(Default)]
        struct Load {
            kind: u32,
            instructions: u32,
            program: u64,
            license: u64,
            log_level: u32,
            log_size: u32,
            log: u64,
            kernel: u32,
            flags: u32,
            name: [u8; 16],
            interface: u32,
            attach: u32,
        }
        const TYPE_XDP: u32 = 6;
        const ATTACH_XDP: u32 = 37;
        /// Packets in several fragments are fine. Without it the native path takes only packets of one MTU, and the
        /// generic path makes each packet linear, by a copy that ends the lending.
        const HAS_FRAGMENTS: u32 = 1 << 5;
        let load = Load {
            kind: TYPE_XDP,
            instructions: 2,
            program: program.as_ptr().expose_provenance() as u64,
            license: c"GPL".as_ptr().expose_provenance() as u64,
            flags: HAS_FRAGMENTS,
            attach: ATTACH_XDP,
            ..Load::default()
        };
        let program = bpf(5, &load)?;
        let flags: u32 = if matches!(mode, Mode::Native) { 4 } else { 2 };
        let link = bpf(28, &[program.as_raw_fd().cast_unsigned(), interface, ATTACH_XDP, flags])?;
        Ok(Self { _link: link })
    }
}

/// bpf(2), for the commands that answer a descriptor.
fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes outlive the call, and the size is theirs.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The loopback interface has this number in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Puts the calling thread into a network namespace of its own, with nothing but loopback.
pub(crate) fn namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip(&["link", "set", "lo", "up"])
}

/// A handle of the calling thread's network namespace.
pub(crate) fn namespace_file() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Runs ip(8) in the calling thread's namespace.
pub(crate) fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(io::Error::other(format!("ip {}: {text}", arguments.join(" "))))
}

/// Two namespaces, a pair of interfaces between them, and a program in the driver of the receiving one, which plays the
/// network card: it takes the sender's pages as they are. The calling thread is in the sender's.
pub(crate) struct Pair {
    near: File,
    far: File,
    _program: Xdp,
}

impl Pair {
    /// The receiver's address.
    pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Sets it up.
    pub(crate) fn new() -> io::Result<Self> {
        namespace()?;
        let far = namespace_file()?;
        namespace()?;
        let near = namespace_file()?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), far.as_raw_fd());
        ip(&["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &path])?;
        ip(&["addr", "add", "10.77.0.1/24", "dev", "near"])?;
        ip(&["link", "set", "near", "up"])?;
        setns(far.as_fd(), CloneFlags::CLONE_NEWNET)?;
        ip(&["addr", "add", &format!("{}/24", Self::FAR), "dev", "far"])?;
        ip(&["link", "set", "far", "up"])?;
        let program = Xdp::attach(nix::net::if_::if_nametoindex("far")?, Mode::Native, Verdict::Pass)?;
        setns(near.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(Self { near, far, _program: program })
    }

    /// A listener in the receiver's namespace.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        setns(self.far.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let listener = TcpListener::bind((Self::FAR, 0));
        setns(self.near.as_fd(), CloneFlags::CLONE_NEWNET)?;
        listener
    }

    /// Has what comes in on the receiving interface worked off by a thread of its own, on this processor (threaded NAPI), not
    /// on the processor of whoever sends.
    ///
    /// KERNEL: it can be switched on only while a program is attached (veth).
    pub(crate) fn receive_on(&self, processor: usize) -> io::Result<()> {
        // What sysfs shows belongs to the namespace of whoever mounts it. The mount goes with the thread.
        let switch = || -> io::Result<()> {
            setns(self.far.as_fd(), CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)?;
            fs::write("/sys/class/net/far/threaded", "1")
        };
        std::thread::scope(|scope| scope.spawn(switch).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut cpus = CpuSet::new();
        cpus.set(processor)?;
        let mut pinned = 0;
        for process in fs::read_dir("/proc")? {
            let path = process?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if let Some(id) = id.filter(|_| name.starts_with("napi/far-")) {
                sched_setaffinity(Pid::from_raw(id), &cpus)?;
                pinned += 1;
            }
        }
        if pinned == 0 { Err(io::Error::other("no thread receives")) } else { Ok(()) }
    }
}

/// Runs a test on a fresh thread that has prepared its surroundings; says so when it cannot be prepared, here and to
/// `cargo verify`.
pub(crate) fn on<T>(name: &str, prepare: impl FnOnce() -> io::Result<T> + Send, test: impl FnOnce(T) + Send) {
    let body = || match prepare() {
        Ok(bed) => test(bed),
        Err(error) => skip::skip(&format!("zerocopy::{name}"), &error.to_string()),
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(body).join() {
            std::panic::resume_unwind(panic);
        }
    });
}
