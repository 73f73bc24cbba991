//! The stream between two ends, as a queue of bytes.

use std::collections::VecDeque;

use super::reference::front;

/// How the writing end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It completed the stream.
    Complete,
    /// It just went away.
    Severed,
}

/// What a refill must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// So many bytes; the stream may go on.
    Open(usize),
    /// So many bytes, and none will follow.
    Complete(usize),
    /// No byte, and the writer has gone without completing the stream.
    Severed,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// Bytes pushed that the reader has not taken over.
    pub in_flight: VecDeque<u8>,
    /// Bytes that the reader has taken over and not consumed, and those that somebody else has put among them.
    pub unread: VecDeque<u8>,
    /// How the writing end has ended, if it has.
    pub end: Option<End>,
    /// Whether the reading end has gone.
    pub reader_gone: bool,
    pushed: u64,
    taken: u64,
    reported: u64,
}

impl Stream {
    /// The writer pushes bytes; false when there is no reader any more.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if !self.reader_gone {
            self.in_flight.extend(bytes);
            self.pushed += bytes.len() as u64;
        }
        !self.reader_gone
    }

    /// The bytes pushed and not reported as consumed.
    #[must_use]
    pub fn unconsumed(&self) -> u64 {
        self.pushed - self.reported
    }

    /// The reader reports what it has consumed. Bytes that somebody else has put among the unread ones cannot be
    /// told from the stream's own, so they may hide some that were consumed; they never count as consumed.
    pub fn release(&mut self) {
        self.reported = self.taken.saturating_sub(self.unread.len() as u64);
    }

    /// The reader takes over what is in flight.
    pub fn refill(&mut self) -> Found {
        self.release();
        let added = self.in_flight.len();
        self.taken += added as u64;
        let (first, second) = self.in_flight.as_slices();
        self.unread.extend(first);
        self.unread.extend(second);
        self.in_flight.clear();
        match self.end {
            Some(End::Complete) => Found::Complete(added),
            Some(End::Severed) if added == 0 => Found::Severed,
            _ => Found::Open(added),
        }
    }

    /// The first `n` unread bytes, which are consumed; none when there are fewer.
    pub fn read(&mut self, n: usize) -> Option<Vec<u8>> {
        let bytes = front(&self.unread, n)?;
        self.unread.drain(..n);
        Some(bytes)
    }

    /// The reader goes away.
    pub fn leave(&mut self) {
        self.release();
        self.unread.clear();
        self.reader_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_before_the_end() {
        let mut stream = Stream::default();
        assert!(stream.push(b"abc"));
        stream.end = Some(End::Severed);
        assert_eq!(stream.refill(), Found::Open(3));
        assert_eq!(stream.refill(), Found::Severed);
        assert_eq!(stream.read(2).as_deref(), Some(b"ab".as_slice()));
        assert_eq!(stream.unconsumed(), 3);
        stream.release();
        assert_eq!(stream.unconsumed(), 1);
        stream.leave();
        assert!(!stream.push(b"d"));
    }
}
