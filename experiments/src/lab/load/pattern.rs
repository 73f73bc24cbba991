//! The bytes of requests, and the check that replies are the same.
//!
//! A connection sends an endless stream of frames. Every byte of it follows from the connection's number and the
//! request's, so that neither requests nor replies are kept: a position in the stream is enough to go on filling or
//! checking, however the bytes were split on the way.

/// A big-endian `u32` with the payload's length.
const PREFIX: usize = 4;
/// Connection and request number at the start of the payload, as far as they fit.
const STAMP: usize = 16;
/// Requests start at different places of the noise, so that a reply cannot pass for its neighbour's.
const SHIFTS: u16 = 4096;

/// Generates and checks the frames of one load.
#[derive(Debug)]
pub(crate) struct Pattern {
    size: usize,
    noise: Vec<u8>,
}

/// A position in the stream of a connection: so many whole frames, and so many bytes of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    pub(crate) frame: u64,
    pub(crate) offset: usize,
}

/// The first byte that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) Cursor);

/// One frame, its varying start made and its noise borrowed.
struct Frame<'a> {
    head: [u8; PREFIX + STAMP],
    head_length: usize,
    body: &'a [u8],
}

impl Frame<'_> {
    /// The bytes from `offset` that lie together in memory; never empty before the end of the frame.
    fn at(&self, offset: usize) -> &[u8] {
        if offset < self.head_length {
            &self.head[offset..self.head_length]
        } else {
            &self.body[offset - self.head_length..]
        }
    }
}

impl Pattern {
    /// For payloads of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let byte = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        });
        Self { size, noise: byte.take(size + usize::from(SHIFTS)).collect() }
    }

    /// Bytes of a payload.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of a whole frame.
    pub(crate) fn frame_length(&self) -> usize {
        PREFIX + self.size
    }

    fn frame(&self, connection: usize, number: u64) -> Frame<'_> {
        let mut head = [0; PREFIX + STAMP];
        let length = u32::try_from(self.size).unwrap_or(u32::MAX);
        head[..PREFIX].copy_from_slice(&length.to_be_bytes());
        head[PREFIX..PREFIX + 8].copy_from_slice(&number.to_le_bytes());
        head[PREFIX + 8..].copy_from_slice(&(connection as u64).to_le_bytes());
        let stamp = self.size.min(STAMP);
        let place = number.wrapping_mul(61).wrapping_add((connection as u64).wrapping_mul(1021));
        let shift = usize::try_from(place % u64::from(SHIFTS)).unwrap_or(0);
        Frame { head, head_length: PREFIX + stamp, body: &self.noise[shift..shift + self.size - stamp] }
    }

    /// Writes the stream of `connection` into `buffer`, from `from` to the start of frame `end`. Returns how many
    /// bytes were written: fewer than asked for only where `buffer` is full.
    pub(crate) fn fill(&self, connection: usize, from: Cursor, end: u64, buffer: &mut [u8]) -> usize {
        let (mut at, mut written) = (from, 0);
        while at.frame < end && written < buffer.len() {
            let frame = self.frame(connection, at.frame);
            while at.offset < self.frame_length() && written < buffer.len() {
                let piece = frame.at(at.offset);
                let length = piece.len().min(buffer.len() - written);
                buffer[written..written + length].copy_from_slice(&piece[..length]);
                written += length;
                at.offset += length;
            }
            at = self.advance(at, 0);
        }
        written
    }

    /// The position `bytes` further on.
    pub(crate) fn advance(&self, from: Cursor, bytes: usize) -> Cursor {
        let total = from.offset + bytes;
        Cursor {
            frame: from.frame + (total / self.frame_length()) as u64,
            offset: total % self.frame_length(),
        }
    }

    /// Checks that `bytes` are what follows `from` on `connection`, and returns the position behind them.
    ///
    /// # Errors
    /// The position of the first byte that differs.
    pub(crate) fn verify(
        &self,
        connection: usize,
        from: Cursor,
        mut bytes: &[u8],
    ) -> Result<Cursor, Mismatch> {
        let mut at = from;
        while !bytes.is_empty() {
            let frame = self.frame(connection, at.frame);
            while at.offset < self.frame_length() && !bytes.is_empty() {
                let expected = frame.at(at.offset);
                let length = expected.len().min(bytes.len());
                if bytes[..length] != expected[..length] {
                    let same = bytes.iter().zip(expected).take_while(|(left, right)| left == right).count();
                    return Err(Mismatch(Cursor { offset: at.offset + same, ..at }));
                }
                bytes = &bytes[length..];
                at.offset += length;
            }
            at = self.advance(at, 0);
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 9] = [0, 1, 7, 15, 16, 17, 100, 1024, 70_000];

    fn stream(pattern: &Pattern, connection: usize, frames: u64) -> Vec<u8> {
        let mut bytes = vec![0; pattern.frame_length() * usize::try_from(frames).unwrap()];
        assert_eq!(pattern.fill(connection, Cursor::default(), frames, &mut bytes), bytes.len());
        bytes
    }

    #[test]
    fn frames_carry_their_length_in_front() {
        for size in SIZES {
            let bytes = stream(&Pattern::new(size), 3, 1);
            assert_eq!(bytes[..4], u32::try_from(size).unwrap().to_be_bytes());
            assert_eq!(bytes.len(), 4 + size);
        }
    }

    #[test]
    fn every_split_fills_and_verifies_alike() {
        for size in SIZES {
            let pattern = Pattern::new(size);
            let whole = stream(&pattern, 5, 4);
            for step in [1, 3, 4, 5, 19, 20, 21, 1000, whole.len()]
                .into_iter()
                .filter(|step| size < 2000 || *step > 20)
            {
                let (mut sent, mut received) = (Cursor::default(), Cursor::default());
                for chunk in whole.chunks(step) {
                    let mut filled = vec![0; chunk.len()];
                    assert_eq!(pattern.fill(5, sent, 4, &mut filled), chunk.len());
                    assert!(filled == chunk, "size {size} step {step}");
                    sent = pattern.advance(sent, chunk.len());
                    received = pattern.verify(5, received, chunk).unwrap();
                    assert_eq!(sent, received);
                }
                assert_eq!(received, Cursor { frame: 4, offset: 0 });
            }
        }
    }

    #[test]
    fn filling_stops_where_nothing_more_was_issued() {
        let pattern = Pattern::new(100);
        let mut buffer = [0; 1000];
        assert_eq!(pattern.fill(0, Cursor { frame: 2, offset: 4 }, 3, &mut buffer), 100);
        assert_eq!(pattern.fill(0, Cursor { frame: 3, offset: 0 }, 3, &mut buffer), 0);
    }

    #[test]
    fn one_wrong_bit_anywhere_is_found_where_it_is() {
        for size in [0, 1, 16, 100] {
            let pattern = Pattern::new(size);
            let whole = stream(&pattern, 1, 3);
            for index in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[index] ^= 0x40;
                let expected = pattern.advance(Cursor::default(), index);
                assert_eq!(pattern.verify(1, Cursor::default(), &bytes), Err(Mismatch(expected)));
            }
        }
    }

    #[test]
    fn the_reply_of_a_neighbour_does_not_pass() {
        let pattern = Pattern::new(64);
        let other_connection = stream(&pattern, 2, 1);
        assert!(pattern.verify(1, Cursor::default(), &other_connection).is_err());
        let own = stream(&pattern, 1, 2);
        assert!(pattern.verify(1, Cursor::default(), &own[68..]).is_err());
    }
}
