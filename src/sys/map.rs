//! Anonymous memory from the kernel: page-aligned, and zero.
#![expect(unsafe_code, reason = "pages are exchanged by address")]

use std::io;
use std::ptr::NonNull;

use memmap2::MmapMut;

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
/// # Safety
/// The range is a part of such a mapping, and nobody refers to its bytes.
pub(crate) unsafe fn exchange_pages(start: NonNull<u8>, len: usize) -> io::Result<()> {
    at(Site::PageExchange, || {
        // SAFETY: the caller's promise.
        match unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    })
}
