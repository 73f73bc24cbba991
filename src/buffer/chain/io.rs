//! A chain as the reading traits of `std` and `bytes`.

use std::io::{self, BufRead, Read};

use bytes::Buf;

use super::Chain;

impl Buf for Chain {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.front()
    }

    /// # Panics
    /// When fewer than `n` bytes are left, as the trait demands.
    fn advance(&mut self, n: usize) {
        if let Err(short) = self.skip(n) {
            panic!("advance: {short}");
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [io::IoSlice<'a>]) -> usize {
        self.io_slices(into)
    }
}

impl Read for Chain {
    /// Never blocks; 0 means that the chain is empty now (or `into` is).
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() && !self.is_empty() {
            let piece = self.front();
            let part = piece.len().min(into.len() - done);
            into[done..done + part].copy_from_slice(&piece[..part]);
            self.drop_front(part);
            done += part;
        }
        Ok(done)
    }
}

impl BufRead for Chain {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.front())
    }

    fn consume(&mut self, n: usize) {
        self.drop_front(n.min(self.len()));
    }
}
