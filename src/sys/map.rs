//! Anonymous memory from the kernel: page-aligned, and zero.

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
