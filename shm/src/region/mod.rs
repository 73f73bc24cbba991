//! Memory that one side writes and the other reads.
//!
//! A region is a file in memory without a name. Its owner takes all of its memory up front, maps it for writing, seals it,
//! and only then gives it away:
//!
//! | seal (fcntl(2)) | what it keeps the peer, and everyone, from |
//! |---|---|
//! | `SHRINK` | cutting the file: who reads behind the end of a file is killed by `SIGBUS` |
//! | `GROW` | taking memory in our name |
//! | `FUTURE_WRITE` | mapping it for writing, writing to it, punching holes into it; the owner's mapping is older |
//! | `SEAL` | adding a seal that would harm the owner |
//!
//! Who is given a region believes none of that: it asks the kernel for the seals, the length and the memory, in this
//! order, and maps the region for reading. The answers cannot change after: the seals stay, and with them the rest.
//!
//! That all memory is there takes two looks. Memory behind the end of a file counts among its blocks, and may be there since
//! before the seals; so a file may have as many blocks as it should, and holes. Once every page has been mapped, holes are
//! filled, in our name, and there are more blocks than before.
//!
//! A mapping is its process's own. A child of fork(2) does not have it, and a region that is dropped there is forgotten.
#![expect(unsafe_code, reason = "a region is raw memory")]

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use crate::sys::{Seals, Shared, Status, add_seals, allocate, create_memory, same, seals, status};

/// A region that this process writes.
#[derive(Debug)]
pub struct OwnRegion {
    memory: Shared,
}

impl OwnRegion {
    /// Makes a region of `len` zeroed bytes, and the descriptor that gives it away. Closing that one does the region no
    /// harm. Takes the memory now; does not block otherwise.
    ///
    /// # Errors
    /// When there is no memory, or no descriptor, to be had. `len` must not be zero.
    pub fn create(len: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = create_memory()?;
        allocate(fd.as_fd(), len)?;
        let memory = Shared::writable(fd.as_fd(), len)?;
        add_seals(fd.as_fd(), Seals::ONE_WRITER)?;
        Ok((Self { memory }, fd))
    }

    /// The first byte. It stays where it is as long as the region lives, and may be written by this process alone.
    #[inline]
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    /// How many bytes there are; never none.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether this process has made the region, and not the one that it was forked from (fork(2)).
    #[must_use]
    pub(crate) fn is_ours(&self) -> bool {
        self.memory.is_ours()
    }

    /// Writes bytes, while nobody else has been given the region's address.
    ///
    /// # Panics
    /// When they do not lie inside of the region.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at <= self.len() && bytes.len() <= self.len() - at, "{} bytes at {at}", bytes.len());
        // SAFETY: at most the region's length.
        let to = unsafe { self.base().add(at) };
        // SAFETY: the range lies inside of the mapping, which is writable, and is borrowed exclusively.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }
}

/// A region that the peer writes, at any moment.
#[derive(Debug)]
pub struct PeerRegion {
    memory: Shared,
}

impl PeerRegion {
    /// Checks what the peer has given us, and maps it for reading. The descriptor is closed.
    ///
    /// # Errors
    /// When it is not a sealed file in memory of just this length, with all of its memory.
    pub fn accept(fd: OwnedFd, len: usize) -> Result<Self, Unfit> {
        inspect(fd.as_fd(), Seals::ONE_WRITER, len)?;
        let memory = map_whole(fd.as_fd(), len, || {
            let memory = Shared::readable(fd.as_fd(), len)?;
            memory.populate()?;
            Ok(memory)
        })?;
        Ok(Self { memory })
    }

    /// The first byte. It stays where it is as long as the region lives. The bytes may change at any moment: they are
    /// read by atomic or volatile loads, or by a copy that is written in assembly, and never through a reference.
    #[inline]
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    /// How many bytes there are; never none.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.memory.len()
    }
}

/// Asks the kernel whether a descriptor of the peer's is what it should be.
///
/// The seals come first. Only files in memory can have them, so what is asked after that is answered by the kernel alone,
/// and does not change any more.
pub(crate) fn inspect(fd: BorrowedFd<'_>, required: Seals, len: usize) -> Result<(), Unfit> {
    let found = seals(fd)?.ok_or(Unfit::NotMemory)?;
    if !found.include(required) {
        return Err(Unfit::Seals);
    }
    let Status { len: found, allocated, ordinary } = status(fd)?;
    if !ordinary {
        return Err(Unfit::NotMemory);
    }
    let declared = len as u64;
    if declared == 0 || found != declared {
        return Err(Unfit::Length { declared, found });
    }
    if allocated < declared {
        return Err(Unfit::Sparse { len: declared, allocated });
    }
    Ok(())
}

/// Maps all pages of a file that was inspected, by `map`, and makes sure that it had no holes.
pub(crate) fn map_whole<T>(
    fd: BorrowedFd<'_>,
    len: usize,
    map: impl FnOnce() -> io::Result<T>,
) -> Result<T, Unfit> {
    let before = status(fd)?.allocated;
    let mapped = map()?;
    let holes = status(fd)?.allocated.saturating_sub(before);
    if holes > 0 {
        let len = len as u64;
        return Err(Unfit::Sparse { len, allocated: len.saturating_sub(holes) });
    }
    Ok(mapped)
}

/// Why a descriptor of the peer's was turned down.
#[derive(Debug)]
pub enum Unfit {
    /// It is no file in memory, or one of huge pages.
    NotMemory,
    /// Seals are missing.
    Seals,
    /// It is not as long as the peer says.
    Length {
        /// The bytes that the peer has declared.
        declared: u64,
        /// The bytes that there are.
        found: u64,
    },
    /// Not all of its memory is there: reading it would take memory in our name.
    Sparse {
        /// The length in bytes.
        len: u64,
        /// The bytes that have memory.
        allocated: u64,
    },
    /// The kernel would not answer, or not map it.
    Io(io::Error),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMemory => f.write_str("the descriptor is no file in memory"),
            Self::Seals => f.write_str("the memory is not sealed as it should be"),
            Self::Length { declared, found } => {
                write!(f, "the memory was declared as {declared} bytes and has {found}")
            }
            Self::Sparse { len, allocated } => {
                write!(f, "only {allocated} of {len} bytes of the memory are there")
            }
            Self::Io(error) => write!(f, "the memory could not be mapped: {error}"),
        }
    }
}

impl std::error::Error for Unfit {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Clone for Unfit {
    fn clone(&self) -> Self {
        match self {
            Self::NotMemory => Self::NotMemory,
            Self::Seals => Self::Seals,
            Self::Length { declared, found } => Self::Length { declared: *declared, found: *found },
            Self::Sparse { len, allocated } => Self::Sparse { len: *len, allocated: *allocated },
            Self::Io(error) => Self::Io(same(error)),
        }
    }
}
