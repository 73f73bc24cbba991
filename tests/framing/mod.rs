//! Reads streams of messages with the codec, piece by piece, and compares with the reference.

use std::ops::ControlFlow;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::service::{Cut, Frame, FrameError, FrameOptions, Payload};
use linkpoll_model::frame::{Case, HEADER, Rest};

/// Reads a case and says what differs.
pub(crate) fn run(case: &Case) -> Result<(), String> {
    let frame = Frame::new(FrameOptions { max_payload: case.longest() });
    let mut reader = Reader { case, frame, input: Chain::new(), found: Vec::new() };
    // One block for all pieces, or one for each: neighbours in one block become one piece again.
    let whole = Segment::copy_of(&case.stream);
    let mut arrived = 0;
    for cut in case.cuts() {
        let piece = whole.slice(arrived..cut);
        reader.input.push(if case.way & 8 == 0 { Segment::copy_of(&piece) } else { piece });
        arrived = cut;
        let rest = reader.read_all()?;
        let done =
            reader.compare(arrived, &rest).map_err(|fault| format!("{fault}, after {arrived} bytes"))?;
        if done {
            break;
        }
    }
    Ok(())
}

struct Reader<'a> {
    case: &'a Case,
    frame: Frame,
    input: Chain,
    found: Vec<Vec<u8>>,
}

impl Reader<'_> {
    /// Reads the messages that are there.
    fn read_all(&mut self) -> Result<Result<usize, FrameError>, String> {
        if self.case.way & 1 == 0 { self.read_each() } else { self.cut_each() }
    }

    fn cut_each(&mut self) -> Result<Result<usize, FrameError>, String> {
        loop {
            match self.frame.cut(&mut self.input) {
                Ok(Cut::Message(payload)) => {
                    let message = read(payload, self.case.way, self.found.len())?;
                    self.found.push(message);
                }
                Ok(Cut::Missing(bytes)) => return Ok(Ok(bytes)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    fn read_each(&mut self) -> Result<Result<usize, FrameError>, String> {
        loop {
            let found = &mut self.found;
            let mut fault = None;
            let mut stopped = false;
            let rest = self.frame.for_each(&mut self.input, |payload| {
                match read(payload, self.case.way, found.len()) {
                    Ok(message) => found.push(message),
                    Err(text) => fault = Some(text),
                }
                stopped = self.case.way & 4 != 0 && found.len() % 3 == 1;
                if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match fault {
                Some(text) => return Err(text),
                None if stopped => {}
                None => return Ok(rest),
            }
        }
    }

    /// Compares with the reference. Answers whether the stream cannot be read on.
    fn compare(&self, arrived: usize, rest: &Result<usize, FrameError>) -> Result<bool, String> {
        let (messages, expected) = self.case.messages(arrived);
        if self.found != messages {
            return Err(format!(
                "{} messages, or other ones, instead of {}",
                self.found.len(),
                messages.len()
            ));
        }
        let limit = self.case.longest();
        let consumed: usize = messages.iter().map(|message| HEADER + message.len()).sum();
        match (rest, expected) {
            (Err(FrameError::TooLong { length, limit: told }), Rest::TooLong(long)) => {
                let same = (*length, *told) == (long, limit);
                if same {
                    Ok(true)
                } else {
                    Err(format!("{length} over {told} instead of {long} over {limit}"))
                }
            }
            (Ok(missing), Rest::Missing(exact)) => {
                let left = self.input.len();
                if left != arrived - consumed {
                    return Err(format!("{left} bytes left instead of {}", arrived - consumed));
                }
                // Where no message has begun it need not be said that a header is missing.
                let same = *missing == exact || (*missing == 0 && left == 0);
                if same { Ok(false) } else { Err(format!("{missing} bytes missing instead of {exact}")) }
            }
            (rest, expected) => Err(format!("{rest:?} instead of {expected:?}")),
        }
    }
}

/// Reads a message in one of the ways there are.
fn read(mut payload: Payload<'_>, way: u8, index: usize) -> Result<Vec<u8>, String> {
    let by_pieces: Vec<u8> = payload.pieces().flatten().copied().collect();
    if payload.len() != by_pieces.len() || payload.is_empty() != by_pieces.is_empty() {
        return Err(format!("a length of {} and pieces of {}", payload.len(), by_pieces.len()));
    }
    if payload.pieces().any(<[u8]>::is_empty) {
        return Err("an empty piece".to_owned());
    }
    match (usize::from(way >> 4) + index) % 4 {
        0 => Ok(by_pieces),
        1 => {
            let joined = payload.contiguous().map_err(|error| error.to_string())?;
            if joined == by_pieces {
                Ok(by_pieces)
            } else {
                Err("joined bytes differ from the pieces".to_owned())
            }
        }
        2 => {
            let chain = payload.into_chain();
            let taken: Vec<u8> = chain.segments().flat_map(|segment| segment.to_vec()).collect();
            let same = taken == by_pieces && chain.len() == by_pieces.len();
            if same { Ok(by_pieces) } else { Err("taken bytes differ from the pieces".to_owned()) }
        }
        _ => {
            drop(payload);
            Ok(by_pieces)
        }
    }
}
