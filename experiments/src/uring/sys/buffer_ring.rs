//! The queue through which buffers are given to the kernel (io_uring_register_buf_ring(3)).
#![expect(unsafe_code, reason = "the queue is shared with the kernel")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The one group of buffers.
pub(super) const GROUP: u16 = 0;
/// KERNEL: the queue starts on a page.
const PAGE: usize = 4096;

/// The queue. It must be closed before it is dropped, and before the ring is.
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    /// Registers a queue of `len` buffers, a power of two of at most 2^15.
    pub(super) fn register(ring: &IoUring, len: u16) -> io::Result<Self> {
        let layout = Layout::array::<BufRingEntry>(usize::from(len))
            .and_then(|layout| layout.align_to(PAGE))
            .map_err(io::Error::other)?
            .pad_to_align();
        // SAFETY: the layout has a size: at least a page.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else { handle_alloc_error(layout) };
        let address = entries.as_ptr().expose_provenance() as u64;
        let this = Self { entries, layout, mask: len - 1, tail: 0 };
        // SAFETY: the memory has room for that many entries, and is freed only after `close`.
        let registered = unsafe { ring.submitter().register_buf_ring_with_flags(address, len, GROUP, 0) };
        if let Err(error) = registered {
            this.free();
            return Err(error);
        }
        Ok(this)
    }

    /// How many buffers it has room for.
    pub(super) fn places(&self) -> u16 {
        self.mask + 1
    }

    /// Adds a buffer. The caller keeps the promises of [`Ring::provide`](super::super::Ring::provide), and has at most
    /// as many buffers as the queue has places.
    #[inline]
    pub(super) fn provide(&mut self, number: u16, bytes: NonNull<u8>, len: u32) {
        // SAFETY: the index is below the number of entries.
        let entry = unsafe { self.entries.add(usize::from(self.tail & self.mask)) };
        // SAFETY: the entry is inside of the queue, and the kernel reads it only once the tail is behind it. All-zero
        // bytes are an entry, so it is initialised.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(bytes.as_ptr().expose_provenance() as u64);
        entry.set_len(len);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        // ORDERING: Release fence before the tail is written; the partner is the kernel's acquire load of it. The
        // kernel looks only within calls of this very thread, so this states the contract rather than an actual race.
        fence(Ordering::Release);
        // SAFETY: the tail lies in the first entry of the queue, which is initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) }.cast_mut();
        // SAFETY: it is inside of the queue; the kernel only reads it. `set_*` above touch other fields.
        unsafe { tail.write_volatile(self.tail) };
    }

    /// Takes the queue back from the kernel, and frees it. Where the kernel does not let go, it is leaked.
    pub(super) fn close(&mut self, ring: &IoUring) {
        if ring.submitter().unregister_buf_ring(GROUP).is_ok() {
            self.free();
        }
    }

    fn free(&self) {
        // SAFETY: the memory was allocated with this layout, and the kernel does not know it (any more).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
