//! System calls without a safe wrapper elsewhere, one function each.

#![expect(unsafe_code, reason = "raw system calls")]

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

/// `setsockopt` at the socket level with an integer.
pub(super) fn set_option(socket: BorrowedFd<'_>, name: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    const LENGTH: libc::socklen_t = 4;
    // SAFETY: the pointer is to an integer that outlives the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const value).cast(), LENGTH)
    };
    Errno::result(result).map(drop)
}

/// Asks an epoll instance to poll devices for so many microseconds before it sleeps.
pub(super) fn set_busy_poll(epoll: BorrowedFd<'_>, microseconds: u32) -> Result<(), Errno> {
    let parameters = libc::epoll_params {
        busy_poll_usecs: microseconds,
        busy_poll_budget: 8,
        prefer_busy_poll: 0,
        __pad: 0,
    };
    // SAFETY: the request reads a structure of this layout and size, which outlives the call.
    let result = unsafe { libc::ioctl(epoll.as_raw_fd(), libc::EPIOCSPARAMS, &raw const parameters) };
    Errno::result(result).map(drop)
}

/// Receives one record from the error queue of a TCP socket over IPv4: its origin and its code.
pub(super) fn error_queue(socket: BorrowedFd<'_>) -> Result<Option<(u8, u8)>, Errno> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
    let mut nothing: [IoSliceMut<'_>; 0] = [];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut nothing,
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )?;
    let record = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) => Some((error.ee_origin, error.ee_code)),
        _ => None,
    });
    Ok(record)
}

/// A perf counter of the calling thread for one event, user and kernel time alike.
pub(super) fn perf_event_open(kind: u32, config: u64) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        rest: [u64; 6],
    }
    const SIZE: u32 = 64;
    const { assert!(size_of::<Attributes>() == SIZE as usize) };
    let attributes = Attributes { kind, size: SIZE, config, rest: [0; 6] };
    // SAFETY: the structure is the first published version of perf_event_attr, says its own size, and outlives the
    // call; pid 0 and cpu -1 mean this thread anywhere, -1 no group, 0 no flags.
    let result = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, 0, -1, -1, 0_u64) };
    let descriptor = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call has just created this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Locks fresh memory of so many bytes, and lets it go again.
pub(super) fn lock_memory(bytes: usize) -> Result<(), Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
    let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: the range is the mapping made above.
    let outcome = Errno::result(unsafe { libc::mlock(memory, bytes) }).map(drop);
    // SAFETY: as before, and nothing refers to the mapping any more. Unmapping also unlocks.
    unsafe { libc::munmap(memory, bytes) };
    outcome
}

/// A shared mapping, unmapped when dropped.
pub(super) struct Shared {
    at: *mut u8,
    bytes: usize,
    writable: bool,
}

impl Shared {
    /// Maps the beginning of a file, which has at least so many bytes, for reading, or for writing too.
    pub(super) fn map(file: &impl AsFd, bytes: usize, writable: bool) -> Result<Self, Errno> {
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let file = file.as_fd().as_raw_fd();
        // SAFETY: a mapping at an address of the kernel's choice touches no existing memory.
        let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, file, 0) };
        if memory == libc::MAP_FAILED {
            Err(Errno::last())
        } else {
            Ok(Self { at: memory.cast(), bytes, writable })
        }
    }

    /// Writes the first byte of a mapping for writing.
    pub(super) fn write(&mut self, byte: u8) {
        if self.writable {
            // SAFETY: it lies in the mapping, of which nobody has a reference.
            unsafe { self.at.write_volatile(byte) };
        }
    }

    /// Reads the first byte.
    pub(super) fn read(&self) -> u8 {
        // SAFETY: as in `write`.
        unsafe { self.at.read_volatile() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `map`, and nothing refers to it any more.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}
