//! Linux AIO: several reads of sockets with one system call.

#![expect(unsafe_code, reason = "raw system calls that refer to memory by address")]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;

use super::{Finding, errno};

/// KERNEL: `struct iocb` of linux/aio_abi.h, little-endian order of `key` and `rw_flags`.
#[repr(C)]
#[derive(Default)]
struct ControlBlock {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_descriptor: u32,
}

/// KERNEL: `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

/// KERNEL: IOCB_CMD_PREAD.
const READ: u16 = 0;

/// A context that is destroyed with its owner.
struct Context(libc::c_ulong);

impl Context {
    fn new(requests: libc::c_long) -> Result<Self, Errno> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes the handle to a word that outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, requests, &raw mut context) };
        Errno::result(result).map(|_| Self(context))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the handle came from io_setup; destroying waits for what is in flight.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

pub(super) fn examine() -> Vec<Finding> {
    let context = Context::new(8).map(|_| "a context for 8 requests".to_string());
    vec![Finding::tried("Linux AIO io_setup", context), Finding::tried("Linux AIO on sockets", batch())]
}

/// Submits reads of a socket with data and of one without.
fn batch() -> Result<String, Errno> {
    let pair = || {
        let (near, far) = UnixStream::pair()?;
        far.set_nonblocking(true)?;
        Ok((near, far))
    };
    let (mut filled, reader) = pair().map_err(|error| errno(&error))?;
    let (_silent, empty) = pair().map_err(|error| errno(&error))?;
    filled.write_all(b"data").map_err(|error| errno(&error))?;
    let mut memory = [[0_u8; 16]; 2];
    let (first, second) = memory.split_at_mut(1);
    let context = Context::new(2)?;
    let mut blocks =
        [(&reader, &mut first[0]), (&empty, &mut second[0])].map(|(socket, buffer)| ControlBlock {
            opcode: READ,
            descriptor: u32::try_from(socket.as_raw_fd()).unwrap_or(u32::MAX),
            buffer: buffer.as_mut_ptr() as u64,
            length: buffer.len() as u64,
            ..ControlBlock::default()
        });
    let list = blocks.each_mut().map(std::ptr::from_mut);
    // SAFETY: the list holds two pointers to blocks that outlive the call, and their buffers outlive the context,
    // which is declared after them.
    let submitted = unsafe { libc::syscall(libc::SYS_io_submit, context.0, 2_usize, list.as_ptr()) };
    let submitted = Errno::result(submitted)?;
    let mut events = [Event::default(); 2];
    // SAFETY: there is room for two events; a null timeout waits for both, which sockets that do not block complete
    // while they are submitted.
    let count = unsafe {
        libc::syscall(
            libc::SYS_io_getevents,
            context.0,
            submitted,
            submitted,
            events.as_mut_ptr(),
            std::ptr::null::<libc::timespec>(),
        )
    };
    let count = usize::try_from(Errno::result(count)?).unwrap_or(0);
    let mut results: Vec<String> = events[..count].iter().map(|event| outcome(event.result)).collect();
    results.sort_unstable();
    Ok(format!("one io_submit read a socket with data and one without: {}", results.join(", ")))
}

fn outcome(result: i64) -> String {
    match i32::try_from(-result) {
        Ok(number) if number > 0 => format!("{:?}", Errno::from_raw(number)),
        _ => format!("{result} bytes"),
    }
}
