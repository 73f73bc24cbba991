//! Cutting messages that have their length in a header of fixed size.

use std::ops::ControlFlow;

use super::frame::FrameError;
use crate::buffer::{Chain, Lender, ReadError, Segment};

/// What a header says: the tag, and the length of the payload behind it.
type Parsed<T> = Result<(T, usize), FrameError>;

/// The next message behind a header of `H` bytes, or how many bytes of it are missing.
pub(super) fn cut<const H: usize, T>(
    input: &mut Chain,
    parse: impl FnOnce(&[u8; H]) -> Parsed<T>,
) -> Result<Result<(T, Chain), usize>, FrameError> {
    let header = match input.front().first_chunk() {
        Some(header) => *header,
        None if input.len() < H => return Ok(Err(H - input.len())),
        None => {
            let mut header = [0; H];
            header.copy_from_slice(input.peek(H)?);
            header
        }
    };
    let (tag, length) = parse(&header)?;
    if input.len() - H < length {
        return Ok(Err(H + length - input.len()));
    }
    input.skip(H).map_err(ReadError::from)?;
    Ok(Ok((tag, input.split_to(length).map_err(ReadError::from)?)))
}

/// As [`Codec::cut_run`](super::Codec::cut_run).
///
/// Messages that lie in the first piece, as most do, are found by walking over it once, and share what it costs to
/// count their references. The last one takes the piece itself.
#[inline]
pub(super) fn cut_run<const H: usize, T>(
    input: &mut Chain,
    parse: impl Fn(&[u8; H]) -> Parsed<T>,
    mut each: impl FnMut(T, Chain, usize) -> ControlFlow<()>,
) -> Result<usize, FrameError> {
    let mut lender = Lender::default();
    let mut walked = 0;
    loop {
        // One place where `each` is called, so that it is inlined, and the payload stays in registers.
        let (tag, payload, whole) = match inside_first(input, walked, &parse) {
            Some((first, tag, length)) if first.len() - walked > H + length => {
                let (from, whole) = (walked + H, H + length);
                // As many as there would be if all were of this length; not the last, if it would end the piece.
                let expected = || (first.len() - walked - 1) / whole;
                let payload = lender.slice(first, from..from + length, expected);
                walked += whole;
                (tag, Chain::from(payload), whole)
            }
            Some((_, tag, length)) if input.has_one_piece() => {
                // The piece ends with it.
                let payload = input.take_behind(std::mem::take(&mut walked) + H);
                (tag, payload.map(Chain::from).unwrap_or_default(), H + length)
            }
            _ => {
                if walked > 0 {
                    input.skip_over(std::mem::take(&mut walked)).map_err(ReadError::from)?;
                }
                lender.let_go();
                if input.is_empty() {
                    return Ok(0);
                }
                let before = input.len();
                match cut(input, &parse)? {
                    Ok((tag, payload)) => (tag, payload, before - input.len()),
                    Err(missing) => return Ok(missing),
                }
            }
        };
        if each(tag, payload, whole).is_break() {
            input.skip_over(walked).map_err(ReadError::from)?;
            return Ok(0);
        }
    }
}

/// The message that begins after `walked` bytes of the first piece, if it lies in that piece whole.
#[inline(always)]
fn inside_first<const H: usize, T>(
    input: &Chain,
    walked: usize,
    parse: impl Fn(&[u8; H]) -> Parsed<T>,
) -> Option<(&Segment, T, usize)> {
    let first = input.first()?;
    let (header, rest) = first.get(walked..)?.split_first_chunk()?;
    let (tag, length) = parse(header).ok()?;
    (length <= rest.len()).then_some((first, tag, length))
}
