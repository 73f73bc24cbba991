//! Linux AIO (io_submit(2)), one function a system call.
#![expect(unsafe_code, reason = "raw system calls that refer to memory by address")]

use std::io;
use std::ptr;

use linkpoll::sync::{Ordering, fence};

/// KERNEL: `struct iocb` of linux/aio_abi.h, little-endian order of `key` and `rw_flags`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ControlBlock {
    pub(super) data: u64,
    pub(super) key: u32,
    pub(super) rw_flags: u32,
    pub(super) opcode: u16,
    pub(super) priority: i16,
    pub(super) descriptor: u32,
    pub(super) buffer: u64,
    pub(super) length: u64,
    pub(super) offset: i64,
    pub(super) reserved: u64,
    pub(super) flags: u32,
    pub(super) event_descriptor: u32,
}

/// KERNEL: `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event {
    pub(super) data: u64,
    pub(super) object: u64,
    pub(super) result: i64,
    pub(super) result2: i64,
}

/// KERNEL: opcodes of linux/aio_abi.h.
pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const WRITE_PIECES: u16 = 8;

/// KERNEL: `RWF_NOWAIT` of linux/fs.h: answer EAGAIN instead of blocking.
pub(super) const NO_WAIT: u32 = 0x8;
/// KERNEL: `RWF_NOSIGNAL` of linux/fs.h (6.17): a reset socket raises no SIGPIPE.
pub(super) const NO_SIGNAL: u32 = 0x100;

/// KERNEL: `AIO_RING_MAGIC` of fs/aio.c.
const MAGIC: u32 = 0xa10a_10a1;

/// KERNEL: `struct aio_ring` of fs/aio.c, mapped where the handle of the context points.
#[repr(C)]
struct Ring {
    id: u32,
    slots: u32,
    head: u32,
    tail: u32,
    magic: u32,
    compatible: u32,
    incompatible: u32,
    header: u32,
}

/// An AIO context. Destroyed with its owner, which waits for what is under way.
#[derive(Debug)]
pub(super) struct Context {
    handle: libc::c_ulong,
    /// The mapped ring can be read without a system call.
    mapped: bool,
}

impl Context {
    /// io_setup(2).
    pub(super) fn new(entries: usize) -> io::Result<Self> {
        let mut handle: libc::c_ulong = 0;
        let entries = libc::c_long::try_from(entries).unwrap_or(libc::c_long::MAX);
        // SAFETY: the kernel writes the handle to a word that outlives the call.
        if unsafe { libc::syscall(libc::SYS_io_setup, entries, &raw mut handle) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut context = Self { handle, mapped: false };
        // SAFETY: the handle is the address of the ring, mapped readable for as long as the context lives.
        let ring = unsafe { ptr::read_volatile(context.ring()) };
        context.mapped = ring.magic == MAGIC && ring.incompatible == 0;
        Ok(context)
    }

    fn ring(&self) -> *mut Ring {
        ptr::with_exposed_provenance_mut(usize::try_from(self.handle).unwrap_or(0))
    }

    /// io_submit(2). Answers how many were submitted: fewer than given when the next one is bad.
    ///
    /// # Safety
    /// The blocks describe memory that is valid until their events have been reaped.
    pub(super) unsafe fn submit(&self, blocks: &[*mut ControlBlock]) -> io::Result<usize> {
        // SAFETY: the list holds pointers to live blocks, and the caller answers for what they describe.
        let n = unsafe { libc::syscall(libc::SYS_io_submit, self.handle, blocks.len(), blocks.as_ptr()) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    /// Takes the next event. Answers also whether that took a system call.
    pub(super) fn reap(&self) -> io::Result<(Event, bool)> {
        match self.look() {
            Some(event) => Ok((event, false)),
            None => self.wait().map(|event| (event, true)),
        }
    }

    /// The next event, if the mapped ring shows one.
    fn look(&self) -> Option<Event> {
        if !self.mapped {
            return None;
        }
        let ring = self.ring();
        // KERNEL: requests on sockets that do not wait complete within io_submit, on this thread, so the ring does not
        // change while we look: volatile accesses suffice. The fences are for a kernel that completes one elsewhere.
        // SAFETY: the ring is mapped for as long as the context lives.
        let Ring { slots, head, tail, header, .. } = unsafe { ptr::read_volatile(ring) };
        if head == tail || head >= slots {
            return None;
        }
        // ORDERING: Acquire: the event is read after the tail that shows it, which the kernel stores behind it.
        fence(Ordering::Acquire);
        // SAFETY: the events lie behind the header of that length, in the same mapping.
        let events = unsafe { ring.cast::<u8>().add(header as usize) }.cast::<Event>();
        // SAFETY: `head` is below `slots`, the number of events mapped.
        let event = unsafe { events.add(head as usize) };
        // SAFETY: as above; the kernel has written this event, for `head` is not `tail`.
        let event = unsafe { ptr::read_volatile(event) };
        // ORDERING: Release: the event is read before its place is given back, which the kernel then writes.
        fence(Ordering::Release);
        // SAFETY: the ring is mapped writable, and its head belongs to us.
        let word = unsafe { &raw mut (*ring).head };
        // SAFETY: as above.
        unsafe { ptr::write_volatile(word, (head + 1) % slots) };
        Some(event)
    }

    /// io_getevents(2): waits for an event.
    fn wait(&self) -> io::Result<Event> {
        let mut event = Event::default();
        loop {
            // SAFETY: there is room for one event; a null timeout waits for it.
            let n = unsafe {
                libc::syscall(
                    libc::SYS_io_getevents,
                    self.handle,
                    1_i64,
                    1_i64,
                    &raw mut event,
                    ptr::null::<libc::timespec>(),
                )
            };
            match n {
                1 => return Ok(event),
                _ if n < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => {
                    return Err(io::Error::last_os_error());
                }
                _ => {}
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the handle came from io_setup; destroying waits for what is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.handle) };
    }
}
