//! Anonymous memory from the kernel: page-aligned, and zero.
#![expect(unsafe_code, reason = "pages are exchanged by address")]

use std::io;
use std::ptr::NonNull;

use memmap2::MmapMut;
use nix::errno::Errno;
use nix::unistd;

use super::site::{Site, at};

/// A private anonymous mapping (mmap(2)); unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Map {
    map: MmapMut,
}

impl Map {
    /// Maps `len` bytes. Pages are supplied by the kernel when they are first written.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        Ok(Self { map: at(Site::Map, || MmapMut::map_anon(len))? })
    }

    /// The first byte. Stays where it is when the `Map` moves.
    pub(crate) fn start(&mut self) -> NonNull<u8> {
        NonNull::from(&mut self.map[..]).cast()
    }
}

/// madvise(2), `MADV_DONTNEED`: drops the pages of a part of a private anonymous mapping. The next access finds zeroes.
///
/// KERNEL: the process's pages are let go, not overwritten. A socket buffer that refers to them keeps them as they are.
///
/// KERNEL: madvise(2): locked pages (mlockall(2)) are refused with `EINVAL`, and let go by `MADV_DONTNEED_LOCKED` (5.18).
///
/// A range that is not whole pages is an error (`EINVAL`). The kernel says so of its start only: the length it rounds up,
/// and where pages are larger than blocks it would take the bytes of the next ones, too.
///
/// # Safety
/// The range is a part of such a mapping, and nobody refers to its bytes.
pub(crate) unsafe fn exchange_pages(start: NonNull<u8>, len: usize) -> io::Result<()> {
    at(Site::PageExchange, || {
        if !is_whole_pages(start.as_ptr().addr()) || !is_whole_pages(len) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the caller's promise.
        match unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTNEED) } {
            0 => return Ok(()),
            _ if Errno::last() != Errno::EINVAL => return Err(io::Error::last_os_error()),
            _ => {}
        }
        // SAFETY: as above.
        match unsafe { libc::madvise(start.as_ptr().cast(), len, LOCKED_TOO) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    })
}

/// KERNEL: `MADV_DONTNEED_LOCKED` of asm-generic/mman-common.h.
const LOCKED_TOO: libc::c_int = 24;

/// Whether a length, or an address, is a multiple of the kernel's page size (sysconf(3), which makes no system call).
pub(crate) fn is_whole_pages(n: usize) -> bool {
    let page = unistd::sysconf(unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|page| usize::try_from(page).ok());
    page.is_some_and(|page| n.is_multiple_of(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of a page takes no other bytes of it along.
    #[test]
    fn only_whole_pages_are_exchanged() {
        let mut map = Map::new(1 << 20).expect("memory");
        map.map.fill(7);
        let start = map.start();
        for (from, len) in [(0, 2048), (2048, 2048), (1, 1 << 16)] {
            let part = NonNull::new(start.as_ptr().wrapping_add(from)).expect("inside of the mapping");
            // SAFETY: inside of the mapping, whose bytes nobody refers to just now.
            assert!(unsafe { exchange_pages(part, len) }.is_err());
        }
        assert!(map.map.iter().all(|byte| *byte == 7));
        // SAFETY: as above.
        assert!(unsafe { exchange_pages(start, 1 << 16) }.is_ok());
        assert!(
            map.map[..1 << 16].iter().all(|byte| *byte == 0)
                && map.map[1 << 16..].iter().all(|byte| *byte == 7)
        );
    }

    /// As of a process that has locked its memory (mlockall(2)).
    #[test]
    fn locked_pages_are_exchanged() {
        let mut map = Map::new(1 << 16).expect("memory");
        map.map.fill(7);
        map.map.lock().expect("so much may be locked");
        let start = map.start();
        // SAFETY: inside of the mapping, whose bytes nobody refers to just now.
        assert!(unsafe { exchange_pages(start, 1 << 15) }.is_ok());
        let bytes = map.map.iter().map(|byte| usize::from(*byte)).sum::<usize>();
        assert_eq!(bytes, 7 << 15, "half of them are zero");
    }
}
