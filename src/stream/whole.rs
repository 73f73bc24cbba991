//! Both halves as one.

use std::io::{self, BufRead, IoSlice, Read, Write};

use super::{Ended, ReadHalf, WriteHalf};
use crate::conn::Handle;
use crate::net::Address;

/// A connection that was handed off: a stream of bytes for any thread or task. See the [module](super), and its halves
/// for what each method does.
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

impl Stream {
    pub(super) fn new(read: ReadHalf, write: WriteHalf) -> Self {
        Self { read, write }
    }

    /// The two halves, for two owners.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// The two halves, for as long as they are borrowed.
    pub fn split(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        (&mut self.read, &mut self.write)
    }

    /// Puts two halves together again.
    ///
    /// # Errors
    /// Gives them back when they are halves of two streams.
    pub fn reunite(read: ReadHalf, write: WriteHalf) -> Result<Self, Box<(ReadHalf, WriteHalf)>> {
        if read.belongs_to(&write.shared) { Ok(Self { read, write }) } else { Err(Box::new((read, write))) }
    }

    /// The half that reads, and its methods.
    pub fn reader(&mut self) -> &mut ReadHalf {
        &mut self.read
    }

    /// The half that writes, and its methods.
    pub fn writer(&mut self) -> &mut WriteHalf {
        &mut self.write
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> &Address {
        self.write.peer()
    }

    /// The handle of the connection: it can be aborted by it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.write.handle()
    }

    /// Why the connection is gone, once it is. There may still be bytes to read.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.write.ended()
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read.read(into)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.read.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.read.consume(n);
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write.flush()
    }
}
