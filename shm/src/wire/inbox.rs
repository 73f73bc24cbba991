//! Frames, made of bytes and descriptors as they arrive.

use super::MOST_DESCRIPTORS;
use std::collections::VecDeque;

use super::frame::{Frame, FrameError, HEADER, Header};

/// Room for every frame of a session; only statistics need more.
const ROOM: usize = 512;

/// Bytes and descriptors that are not yet frames. `F` is what a descriptor is.
///
/// After each arrival frames are taken with [`take`](Self::take) until there is none: only then is it known to whom the
/// descriptors belong. The first error stays, and descriptors that wait are dropped with it. Memory is bounded: by the
/// longest frame, and by four descriptors.
#[derive(Debug)]
pub struct Inbox<F> {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    /// Descriptors, each with where the bytes that it came with ended.
    descriptors: VecDeque<(usize, F)>,
    error: Option<FrameError>,
}

impl<F> Default for Inbox<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Inbox<F> {
    /// An empty inbox.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Vec::new(), from: 0, to: 0, descriptors: VecDeque::new(), error: None }
    }

    /// Where to put the next bytes: never nowhere, once [`take`](Self::take) has answered that there is no frame.
    pub fn space(&mut self) -> &mut [u8] {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            for (end, _) in &mut self.descriptors {
                *end -= self.from;
            }
            (self.from, self.to) = (0, self.to - self.from);
        }
        let needed = self.header().map_or(ROOM, |header| header.map_or(ROOM, |h| HEADER + h.body));
        if self.bytes.len() < needed.max(ROOM) {
            self.bytes.resize(needed.max(ROOM), 0);
        }
        &mut self.bytes[self.to..]
    }

    /// States that `n` bytes were put where [`space`](Self::space) says.
    ///
    /// # Panics
    /// When there was no room for so many.
    pub fn arrived(&mut self, n: usize, descriptors: impl IntoIterator<Item = F>) {
        assert!(n <= self.bytes.len() - self.to, "{n} bytes where there is no room");
        self.to += n;
        for descriptor in descriptors {
            if self.descriptors.len() == MOST_DESCRIPTORS {
                self.fail(FrameError::Descriptors);
            }
            if self.error.is_none() {
                self.descriptors.push_back((self.to, descriptor));
            }
        }
    }

    /// The next frame; `None` when more must arrive first. Doorbells in a row are one.
    ///
    /// # Errors
    /// When what has arrived is no frame. The error stays.
    pub fn take(&mut self) -> Result<Option<Frame<F>>, FrameError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.cut().map_err(|error| self.fail(error))
    }

    /// How many bytes there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.descriptors.clear();
        *self.error.get_or_insert(error)
    }

    /// The header of the first frame, once it is there.
    fn header(&self) -> Result<Option<Header>, FrameError> {
        self.bytes[self.from..self.to].first_chunk().map(|bytes| Header::read(*bytes)).transpose()
    }

    fn cut(&mut self) -> Result<Option<Frame<F>>, FrameError> {
        let rest = &self.bytes[self.from..self.to];
        let doorbells = rest.iter().take_while(|byte| Header::is_doorbell(**byte)).count();
        if doorbells > 0 {
            self.from += doorbells;
            self.descriptors_until(self.from, 0)?;
            return Ok(Some(Frame::Doorbell));
        }
        let Some(header) = self.header()? else { return Ok(None) };
        let (start, end) = (self.from + HEADER, self.from + HEADER + header.body);
        if end > self.to {
            // All that wait came with bytes of this frame.
            let fits = self.descriptors.len() <= header.descriptors;
            return if fits { Ok(None) } else { Err(FrameError::Descriptors) };
        }
        self.descriptors_until(end, header.descriptors)?;
        let mut mine = self.descriptors.drain(..header.descriptors).map(|(_, descriptor)| descriptor);
        let frame = Frame::read(header, &self.bytes[start..end], &mut mine);
        drop(mine);
        self.from = end;
        frame.map(Some)
    }

    /// Requires that just so many descriptors came with the bytes of a frame that ends at `end`.
    fn descriptors_until(&self, end: usize, expected: usize) -> Result<(), FrameError> {
        let found = self.descriptors.iter().take_while(|(with, _)| *with <= end).count();
        if found == expected { Ok(()) } else { Err(FrameError::Descriptors) }
    }
}
