//! The handler of a client's connection.

use std::ops::ControlFlow;

use super::outstanding::{CallTag, Outstanding};
use super::{CallError, Line, Order, UnexpectedReply, Waiting};
use crate::conn::CloseReason;
use crate::service::{Codec, Flow, Handler, Io};
use crate::sync::Arc;

/// See the module above.
pub(super) struct Calls<C: Codec>
where
    C::Tag: CallTag,
{
    codec: C,
    line: Arc<Line<C>>,
    outstanding: Outstanding<C>,
    /// What was taken from the queue; empty between calls.
    inbox: Vec<Order<C>>,
    /// Requests written in this call, and not on their way yet.
    written: Vec<C::Tag>,
    /// No further calls come.
    closing: bool,
}

impl<C: Codec> Calls<C>
where
    C::Tag: CallTag,
{
    pub(super) fn new(codec: C, line: Arc<Line<C>>) -> Self {
        Self {
            codec,
            line,
            outstanding: Outstanding::new(),
            inbox: Vec::new(),
            written: Vec::new(),
            closing: false,
        }
    }

    /// Writes what was taken from the queue.
    fn write_all(&mut self, io: &mut Io<'_>) {
        let mut inbox = std::mem::take(&mut self.inbox);
        for order in inbox.drain(..) {
            match order {
                Order::Close => self.closing = true,
                Order::Call(_, waiting) if waiting.is_abandoned() => self.line.end(),
                Order::Call(_, waiting) if self.closing => self.line.answer(waiting, Err(CallError::NotSent)),
                Order::Call(request, waiting) => self.write(io, request, waiting),
            }
        }
        self.inbox = inbox;
        self.written.clear();
    }

    fn write(&mut self, io: &mut Io<'_>, request: C::Out, waiting: Waiting<C>) {
        let before = io.output().len();
        if io.unsent() + before > self.line.options.most_unsent {
            return self.line.answer(waiting, Err(CallError::Full));
        }
        let tag = self.outstanding.fresh_tag();
        match C::put(tag.clone(), request, io.output()) {
            Ok(()) => {
                self.written.push(tag.clone());
                self.outstanding.push(tag, waiting);
            }
            Err(error) => {
                let error = CallError::Unwritable(Arc::new(error));
                if io.output().len() != before {
                    // Half of it is written, and behind others, which go with it.
                    io.output().discard();
                    while let Some(tag) = self.written.pop() {
                        if let Some(other) = self.outstanding.take_back(&tag) {
                            self.line.answer(other, Err(error.clone()));
                        }
                    }
                }
                self.line.answer(waiting, Err(error));
            }
        }
    }

    /// Whether the connection goes on.
    fn go_on(&self, io: &mut Io<'_>) -> Flow {
        io.set_busy(!self.outstanding.is_empty());
        if self.closing && self.outstanding.is_empty() { Flow::CloseWhenSent } else { Flow::Continue }
    }

    /// Ends every call that is left. Calls that come later are answered by their callers.
    fn end(&mut self, why: Option<CloseReason>) {
        self.closing = true;
        let mut inbox = std::mem::take(&mut self.inbox);
        self.line.queue.close(&mut inbox);
        for order in inbox {
            if let Order::Call(_, waiting) = order {
                self.line.answer(waiting, Err(CallError::NotSent));
            }
        }
        let why = Arc::new(why.unwrap_or_else(|| CloseReason::Broken(std::io::ErrorKind::Other.into())));
        for waiting in self.outstanding.drain() {
            self.line.answer(waiting, Err(CallError::Closed(Arc::clone(&why))));
        }
    }
}

impl<C: Codec> Handler for Calls<C>
where
    C::Tag: CallTag,
{
    fn reads_on(&self) -> bool {
        true
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        self.line.queue.take(&mut self.inbox);
        self.write_all(io);
        self.go_on(io)
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let (mut replies, mut unexpected) = (0, false);
        let (outstanding, line) = (&mut self.outstanding, &self.line);
        let missing = self.codec.cut_run(io.input(), |tag, reply, _| match outstanding.take(&tag) {
            Some(waiting) => {
                replies += 1;
                line.answer(waiting, Ok(reply));
                ControlFlow::Continue(())
            }
            None => {
                unexpected = true;
                ControlFlow::Break(())
            }
        });
        io.count_messages(replies);
        match missing {
            Err(error) => return Flow::Abort(error),
            Ok(_) if unexpected => return Flow::Abort(Box::new(UnexpectedReply)),
            Ok(0) => {}
            Ok(missing) => io.want(missing),
        }
        self.go_on(io)
    }

    /// No reply can come any more.
    fn eof(&mut self, _io: &mut Io<'_>) -> Flow {
        self.end(Some(CloseReason::PeerEnded));
        Flow::CloseWhenSent
    }

    /// Calls that were made before are still sent, and their replies awaited.
    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        self.line.queue.close(&mut self.inbox);
        self.write_all(io);
        self.closing = true;
        self.go_on(io)
    }

    /// Those that are made from now on are not sent: their callers are told so, and may try another connection.
    fn leaving(&mut self, io: &mut Io<'_>) -> Flow {
        self.drain(io)
    }

    fn closed(mut self: Box<Self>, why: CloseReason) {
        self.end(Some(why));
    }
}

impl<C: Codec> Drop for Calls<C>
where
    C::Tag: CallTag,
{
    /// Does nothing after `closed`. A handler that is lost with its loop is not told.
    fn drop(&mut self) {
        self.end(None);
    }
}
