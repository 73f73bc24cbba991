//! Anonymous files in memory (memfd_create(2)), their seals, and mappings of them.
#![expect(unsafe_code, reason = "files are mapped into memory")]

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::process;
use std::ptr::NonNull;

use linkpoll::faults::at;
use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::{Site, retry};

/// KERNEL: linux/memfd.h; since Linux 6.3. The file cannot be executed, and that is sealed.
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x8);

/// What can no longer be done to a file in memory (`F_GET_SEALS`, fcntl(2)).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seals(SealFlag);

impl Seals {
    /// Its length stays, and only mappings that are writable already can write: memory that one process writes.
    pub(crate) const ONE_WRITER: Self = Self::both(Self::LENGTH, SealFlag::F_SEAL_FUTURE_WRITE);
    /// Its length and its bytes stay, for everyone.
    pub(crate) const CONSTANT: Self = Self::both(Self::LENGTH, SealFlag::F_SEAL_WRITE);

    const LENGTH: SealFlag =
        SealFlag::F_SEAL_SEAL.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW);

    const fn both(one: SealFlag, other: SealFlag) -> Self {
        Self(one.union(other))
    }

    /// Whether all of `required` are among these.
    pub(crate) fn include(self, required: Self) -> bool {
        self.0.contains(required.0)
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0.bits())
    }
}

/// memfd_create(2): an empty file that has no name anywhere, and can be sealed.
pub(crate) fn create_memory() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    at(Site::MemoryCreate, || match memfd_create(c"linkpoll-shm", flags | NOEXEC_SEAL) {
        // An older kernel does not know the flag.
        Err(Errno::EINVAL) => Ok(memfd_create(c"linkpoll-shm", flags)?),
        done => Ok(done?),
    })
}

/// fallocate(2): makes the file `len` bytes long and takes the memory for them now, so that there is none that could be
/// missing later (which would be `SIGBUS`).
pub(crate) fn allocate(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    retry(Site::MemoryAllocate, || fallocate(fd, FallocateFlags::empty(), 0, len))
}

/// fcntl(2), `F_ADD_SEALS`.
pub(crate) fn add_seals(fd: BorrowedFd<'_>, seals: Seals) -> io::Result<()> {
    retry(Site::SealsAdd, || fcntl(fd, FcntlArg::F_ADD_SEALS(seals.0)).map(drop))
}

/// fcntl(2), `F_GET_SEALS`. `None` for a descriptor of anything that cannot be sealed.
///
/// KERNEL: this asks no file system: it may be called for a descriptor of unknown origin, where fstat(2) could be made
/// to wait by whoever serves the file system (FUSE).
pub(crate) fn seals(fd: BorrowedFd<'_>) -> io::Result<Option<Seals>> {
    match retry(Site::SealsRead, || fcntl(fd, FcntlArg::F_GET_SEALS)) {
        Ok(bits) => Ok(Some(Seals(SealFlag::from_bits_retain(bits)))),
        // KERNEL: EINVAL: no such file; EBADF: opened with `O_PATH`, and good for nothing.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBADF)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What fstat(2) and fstatfs(2) say of a file in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// Its length in bytes.
    pub(crate) len: u64,
    /// The bytes of memory that it has.
    pub(crate) allocated: u64,
    /// Whether its memory is made of ordinary pages. Huge pages may run out when they are first touched.
    pub(crate) ordinary: bool,
}

/// fstat(2) and fstatfs(2).
pub(crate) fn status(fd: BorrowedFd<'_>) -> io::Result<Status> {
    let file = retry(Site::FileStatus, || fstat(fd))?;
    let system = retry(Site::SystemStatus, || fstatfs(fd))?;
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Status {
        len: unsigned(file.st_size),
        // KERNEL: stat(2): `st_blocks` counts units of 512 bytes whatever the size of a block is.
        allocated: unsigned(file.st_blocks).saturating_mul(512),
        ordinary: system.filesystem_type() == TMPFS_MAGIC,
    })
}

/// A shared mapping (mmap(2), `MAP_SHARED`) that this process alone has: a child of fork(2) does not get it
/// (`MADV_DONTFORK`), so it cannot write where its parent does.
pub(crate) struct Shared {
    map: ManuallyDrop<MmapRaw>,
    process: u32,
}

impl Shared {
    /// Maps the first `len` bytes, for reading and writing.
    pub(crate) fn writable(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::private_to_process(at(Site::MemoryMap, || MmapOptions::new().len(len).map_raw(fd.as_raw_fd()))?)
    }

    /// Maps the first `len` bytes, for reading.
    pub(crate) fn readable(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::private_to_process(at(Site::PeerMap, || {
            MmapOptions::new().len(len).map_raw_read_only(fd.as_raw_fd())
        })?)
    }

    fn private_to_process(map: MmapRaw) -> io::Result<Self> {
        at(Site::MemoryAdvise, || map.advise(Advice::DontFork))?;
        Ok(Self { map: ManuallyDrop::new(map), process: process::id() })
    }

    /// Sees to it that all pages are mapped, and with them all of the memory there.
    pub(crate) fn populate(&self) -> io::Result<()> {
        let advised = at(Site::MemoryPopulate, || self.map.advise(Advice::PopulateRead));
        populated(advised, self.base(), self.len())
    }

    /// Whether this process has mapped it, and not the one that it was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        process::id() == self.process
    }

    /// The first byte. Stays where it is when the `Shared` moves.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        // A mapping never begins at null.
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

impl Drop for Shared {
    /// munmap(2). A forked child has nothing to unmap: something else may lie there.
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.map) }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("base", &self.base()).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What came of `MADV_POPULATE_READ` for a mapping.
///
/// KERNEL: madvise(2): since Linux 5.14. It fails where a read would be `SIGBUS`. An older kernel does not know it, and a
/// read of each page does the same in this process's name.
fn populated(advised: io::Result<()>, base: NonNull<u8>, len: usize) -> io::Result<()> {
    match advised {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            touch(base, len);
            Ok(())
        }
        advised => advised,
    }
}

/// Reads a byte of each page of a mapping.
fn touch(base: NonNull<u8>, len: usize) {
    const PAGE: usize = 4096;
    for at in (0..len).step_by(PAGE) {
        // SAFETY: less than the length of the mapping.
        let byte = unsafe { base.add(at) };
        // SAFETY: it is mapped for reading, and may change meanwhile.
        let _ = unsafe { byte.read_volatile() };
    }
}

/// Maps the first `len` bytes of a file whose bytes can no longer change, for reading, all of its pages at once.
///
/// # Safety
/// The file is at least that long, and is sealed with [`Seals::CONSTANT`].
pub(crate) unsafe fn map_sealed(fd: BorrowedFd<'_>, len: usize) -> io::Result<Mmap> {
    let map = at(Site::SealedMap, || {
        // SAFETY: the caller's promise: nobody changes the bytes. Whether none is missing is found out before anybody reads.
        unsafe { MmapOptions::new().len(len).map(fd.as_raw_fd()) }
    })?;
    let advised = at(Site::MemoryPopulate, || map.advise(Advice::PopulateRead));
    populated(advised, NonNull::from(&*map).cast(), map.len())?;
    Ok(map)
}

/// pread(2): reads the first bytes of a file whose bytes can no longer change, and closes it.
pub(crate) fn read_sealed(fd: OwnedFd, into: &mut [u8]) -> io::Result<()> {
    let file = File::from(fd);
    retry(Site::SealedRead, || file.read_exact_at(into, 0))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    /// What an older kernel is asked instead comes to the same.
    #[test]
    fn each_page_gets_its_memory_either_way() {
        for error in [None, Some(libc::EINVAL)] {
            let fd = create_memory().unwrap();
            nix::unistd::ftruncate(&fd, 5 * 4096).unwrap();
            let memory = Shared::readable(fd.as_fd(), 5 * 4096).unwrap();
            assert_eq!(status(fd.as_fd()).unwrap().allocated, 0);
            match error {
                None => memory.populate().unwrap(),
                Some(code) => {
                    populated(Err(io::Error::from_raw_os_error(code)), memory.base(), memory.len()).unwrap();
                }
            }
            assert_eq!(status(fd.as_fd()).unwrap().allocated, 5 * 4096);
        }
        let failure = Err(io::Error::from_raw_os_error(libc::EFAULT));
        assert!(populated(failure, NonNull::dangling(), 0).is_err());
    }
}
