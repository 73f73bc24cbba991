//! The stream: both ends, in turn, on one thread.

use linkpoll::buffer::{Chain, LinkBuffer, ReaderGone, Refill, Segment, Severed};
use linkpoll_model::buffer::{Amount, Count, End, Found, Size, Stream};

use super::Machine;
use super::check::{Checked, same, same_bytes, same_pieces};

impl Machine {
    pub(super) fn check_stream(&mut self) -> Checked {
        let stream = &self.reference.stream;
        if let Some(sender) = &self.sender {
            same("bytes unconsumed", sender.unconsumed(), stream.unconsumed())?;
            same("whether the reader is gone", sender.is_reader_gone(), stream.reader_gone)?;
        }
        if let Some(receiver) = &mut self.receiver {
            let unread = receiver.unread();
            same("length of what the reader has", unread.len(), stream.unread.len())?;
            let pieces = unread.segments().map(|segment| &**segment);
            let total = same_pieces("what the reader has", pieces, &stream.unread)?;
            same("total of the reader's pieces", total, stream.unread.len())?;
        }
        Ok(())
    }

    /// Sends the first `n` bytes of the chain; what comes back goes to its end.
    fn send(&mut self, n: usize) -> Checked {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let taken = self.chain.split_to(n).map_err(|short| short.to_string())?;
        let bytes = self.reference.front(n).unwrap_or_default();
        self.reference.consume(n);
        let expected = self.reference.stream.push(&bytes);
        let answer = sender.push(taken);
        same("whether a push succeeds", answer.is_ok(), expected)?;
        if let Err(ReaderGone(back)) = answer {
            self.chain.append(back);
            self.reference.unread.extend(&bytes);
        }
        Ok(())
    }

    pub(super) fn stream_push(&mut self, amount: Amount) -> Checked {
        self.send(amount.within(self.chain.len(), self.chain.front().len()))
    }

    pub(super) fn stream_push_singly(&mut self, count: Count) -> Checked {
        for _ in 0..count.get().min(self.chain.len()) {
            self.send(1)?;
        }
        Ok(())
    }

    pub(super) fn stream_refill(&mut self) -> Checked {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        let expected = match self.reference.stream.refill() {
            Found::Open(n) => Ok(Refill::Open(n)),
            Found::Complete(n) => Ok(Refill::Complete(n)),
            Found::Severed => Err(Severed),
        };
        same("refill", receiver.refill(), expected)
    }

    pub(super) fn stream_read(&mut self, amount: Amount) -> Checked {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        let unread = receiver.unread();
        let n = amount.within(unread.len(), unread.front().len());
        let expected = self.reference.stream.read(n).unwrap_or_default();
        same_bytes("what the reader reads", unread.next(n).map_err(|error| error.to_string())?, &expected)
    }

    pub(super) fn stream_slice(&mut self, amount: Amount) -> Checked {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        let unread = receiver.unread();
        let n = amount.within(unread.len(), unread.front().len());
        let segment = unread.slice(n).map_err(|error| error.to_string())?;
        let expected = self.reference.stream.read(n).unwrap_or_default();
        same_bytes("what the reader keeps", &segment, &expected)?;
        self.keep(segment, expected);
        Ok(())
    }

    pub(super) fn stream_release(&mut self) -> Checked {
        if let Some(receiver) = &mut self.receiver {
            receiver.release();
            self.reference.stream.release();
        }
        Ok(())
    }

    pub(super) fn stream_drain(&mut self) -> Checked {
        self.stream_refill()?;
        if let Some(receiver) = &mut self.receiver {
            let all = receiver.unread().len();
            receiver.unread().skip(all).map_err(|short| short.to_string())?;
            same("bytes drained", self.reference.stream.read(all).map(|bytes| bytes.len()), Some(all))?;
        }
        self.stream_release()
    }

    pub(super) fn stream_intrude(&mut self, size: Size) -> Checked {
        let bytes = self.bytes(size.get());
        if let Some(receiver) = &mut self.receiver {
            receiver.unread().push(Segment::copy_of(&bytes));
            self.reference.stream.unread.extend(&bytes);
        }
        Ok(())
    }

    pub(super) fn stream_finish(&mut self) -> Checked {
        if let Some(sender) = self.sender.take() {
            sender.finish();
            self.reference.stream.end = Some(End::Complete);
        }
        Ok(())
    }

    pub(super) fn stream_sever(&mut self) -> Checked {
        if self.sender.take().is_some() {
            self.reference.stream.end = Some(End::Severed);
        }
        Ok(())
    }

    pub(super) fn stream_leave(&mut self) -> Checked {
        if self.receiver.take().is_some() {
            self.reference.stream.leave();
        }
        Ok(())
    }

    pub(super) fn stream_renew(&mut self) -> Checked {
        let (sender, receiver) = LinkBuffer::new();
        self.sender = Some(sender);
        self.receiver = Some(receiver);
        self.reference.stream = Stream::default();
        // A stream of nothing is a stream, too.
        let pushed = self.sender.as_mut().map(|sender| sender.push(Chain::new()).is_ok());
        same("pushing nothing", pushed, Some(true))
    }
}
