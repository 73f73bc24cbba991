//! The largest messages: memory that is written once, sealed, and given away.
//!
//! ```text
//!   sender    BulkBuffer --write--> seal --> SealedBulk --BULK frame (fd, sequence, length)--> then the BULK record
//!   receiver  Arrivals keeps what came over the socket until its record comes through the ring --> Segment
//! ```
//!
//! It is the one form in which bytes of another process become a [`Segment`] without a copy: `F_SEAL_WRITE` means that
//! nobody has the memory mapped for writing, and that nobody can change it any more; the kernel refuses to seal it
//! otherwise. So a `&[u8]` of it is sound, whoever has sent it.
//!
//! **When.** Not for speed. A file must be made, filled with zeroes, mapped twice and let go for each message, and that costs
//! more than a second copy: on a virtual machine 0.95 ms for 1 MiB, where two copies through memory that is there already
//! took 0.06 ms, and 20 ms against 6 ms for 16 MiB (`benches/bulk.rs`). It is for bytes that do not fit into what a peer maps
//! of us, and for bytes that a receiver keeps for long and would not have in its own memory.
//!
//! **Order.** Records are what counts. The frame is in the kernel's hands before the record is published, so a receiver that
//! sees the record finds the frame in its socket. One that does not is looking at a peer that lies.
#![expect(unsafe_code, reason = "memory is written and read where it is mapped")]

mod arrivals;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::slice;

use linkpoll::buffer::Segment;

use crate::region::{Unfit, inspect, map_whole};
use crate::sys::{Seals, Shared, add_seals, allocate, create_memory, map_sealed, read_sealed};
pub use arrivals::{Arrivals, BulkError, MOST_WAITING};

/// Sealed memory of fewer bytes is copied, and not mapped: a process can have some ten thousand mappings (sysctl
/// `vm.max_map_count`), and a peer could use them up, for everybody in this process, by one message in many small pieces.
pub const LEAST_MAPPED: usize = 256 << 10;

/// Memory that is being written. It is nobody else's yet.
pub struct BulkBuffer {
    fd: OwnedFd,
    memory: Shared,
}

impl BulkBuffer {
    /// Takes `len` zeroed bytes of memory, at least one.
    ///
    /// # Errors
    /// When there is no memory, or no descriptor, to be had.
    pub fn new(len: usize) -> io::Result<Self> {
        let fd = create_memory()?;
        allocate(fd.as_fd(), len)?;
        let memory = Shared::writable(fd.as_fd(), len)?;
        Ok(Self { fd, memory })
    }

    /// The bytes, to be written.
    #[must_use]
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is writable and that long, its bytes are initialised, and `self`, which is borrowed, is the
        // only one that knows the file.
        unsafe { slice::from_raw_parts_mut(self.memory.base().as_ptr(), self.memory.len()) }
    }

    /// Makes the bytes constant, for everyone and for ever.
    ///
    /// # Errors
    /// When the kernel still uses the pages for something (fcntl(2), `EBUSY`): direct I/O into them, for example.
    pub fn seal(self) -> io::Result<SealedBulk> {
        let len = self.memory.len();
        // KERNEL: fcntl(2): a file that is mapped for writing cannot be sealed.
        drop(self.memory);
        add_seals(self.fd.as_fd(), Seals::CONSTANT)?;
        Ok(SealedBulk { fd: self.fd, len })
    }
}

impl fmt::Debug for BulkBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkBuffer").field("len", &self.memory.len()).finish_non_exhaustive()
    }
}

/// Memory that nobody can change any more.
#[derive(Debug)]
pub struct SealedBulk {
    fd: OwnedFd,
    len: usize,
}

impl SealedBulk {
    /// Checks what the peer has given us.
    ///
    /// # Errors
    /// When it is not a sealed file in memory of just this length, with all of its memory.
    pub fn accept(fd: OwnedFd, len: usize) -> Result<Self, Unfit> {
        inspect(fd.as_fd(), Seals::CONSTANT, len)?;
        Ok(Self { fd, len })
    }

    /// How many bytes there are; never none.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Maps the bytes, for as long as a segment of them is held anywhere; fewer than [`LEAST_MAPPED`] are copied into
    /// memory of this process. The descriptor is closed.
    ///
    /// # Errors
    /// [`Unfit::Sparse`] when the memory turns out not to be all there; else as mmap(2): when there are too many mappings.
    pub fn into_segment(self) -> Result<Segment, Unfit> {
        let Self { fd, len } = self;
        if len < LEAST_MAPPED {
            let mut bytes = vec![0; len];
            read_sealed(fd, &mut bytes)?;
            return Ok(Segment::from_owner(bytes));
        }
        let map = map_whole(fd.as_fd(), len, || {
            // SAFETY: the file is sealed and that long: `seal` has made it so, or `accept` has checked. A page whose memory
            // is missing gets it here and now, or this fails.
            unsafe { map_sealed(fd.as_fd(), len) }
        })?;
        Ok(Segment::from_owner(map))
    }

    /// The descriptor, to be sent to the peer.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.fd
    }
}
