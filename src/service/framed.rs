//! A handler of length-prefixed messages: a function from request to reply, on the loop.

use std::ops::ControlFlow;

use super::frame::OpenMessage;
use super::{Flow, Frame, Handler, HandlerError, Io, Payload};
use crate::buffer::SegmentWriter;

/// Calls a function for each message, and sends what it writes as the reply. Replies leave in the order of requests.
///
/// A message over the limit ends its connection, and so does an error of the function.
#[derive(Debug)]
pub struct Framed<F> {
    frame: Frame,
    answer: F,
    in_place: bool,
}

impl<F> Framed<F>
where
    F: FnMut(Payload<'_>, &mut SegmentWriter) -> Result<(), HandlerError> + 'static,
{
    /// A handler that answers with `answer`, which writes the payload of the reply.
    pub fn new(frame: Frame, answer: F) -> Self {
        Self { frame, answer, in_place: false }
    }

    /// Says that the function copies what it keeps of a payload or answers with, and takes no
    /// [chain](Payload::into_chain) of it; see [`Handler::reads_in_place`].
    #[must_use]
    pub fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    #[inline]
    fn answer_all(&mut self, io: &mut Io<'_>) -> Result<(), HandlerError> {
        if io.is_congested() {
            return Ok(());
        }
        let room = io.high() - io.unsent();
        let (input, output) = io.split();
        let mut failed = None;
        let missing = self.frame.walk(input, |request| {
            // Not through another closure: the payload would be copied into it.
            let answered = match OpenMessage::begin(output) {
                Ok(message) => match (self.answer)(request, output) {
                    Ok(()) => message.end(output).map_err(HandlerError::from),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error.into()),
            };
            match answered {
                Ok(()) if output.len() <= room => return ControlFlow::Continue(()),
                Ok(()) => {}
                Err(error) => failed = Some(error),
            }
            ControlFlow::Break(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if missing > 0 {
            io.want(missing);
        }
        Ok(())
    }
}

impl<F> Handler for Framed<F>
where
    F: FnMut(Payload<'_>, &mut SegmentWriter) -> Result<(), HandlerError> + 'static,
{
    fn reads_in_place(&self) -> bool {
        self.in_place
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        match self.answer_all(io) {
            Ok(()) => Flow::Continue,
            Err(error) => Flow::Abort(error),
        }
    }
}
