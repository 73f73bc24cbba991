//! The writing side: a writer, and a tail of its own.

use bytes::{BufMut, Bytes};
use linkpoll::buffer::{Segment, WriteError};
use linkpoll_model::buffer::{Amount, Fill, Pick, Size, Source, Via};

use super::Machine;
use super::check::{Checked, ensure, same};

impl Machine {
    pub(super) fn write(&mut self, size: Size, via: Via) -> Checked {
        let bytes = self.bytes(size.get());
        let before = self.writer.len();
        match via {
            Via::Method => {
                if let Err(error) = self.writer.write(&bytes) {
                    self.may_not_write(error)?;
                }
            }
            Via::Io => match std::io::Write::write(&mut self.writer, &bytes) {
                Ok(n) => same("bytes written, as reported", n, self.writer.len() - before)?,
                // An error means that nothing was written at all.
                Err(error) => same(&format!("bytes written before {error}"), self.writer.len() - before, 0)?,
            },
            Via::BufMut => self.writer.put_slice(&bytes),
        }
        self.note_written(before, &bytes)
    }

    /// The writer has taken in as many of the bytes as its length says; all of them, unless memory may run out.
    fn note_written(&mut self, before: usize, bytes: &[u8]) -> Checked {
        let written = self.writer.len().checked_sub(before);
        let written = written.and_then(|n| bytes.get(..n)).ok_or("the writer has more than it was given")?;
        ensure(
            written.len() == bytes.len() || self.limit.get() < linkpoll_model::buffer::Limit::NONE,
            || format!("{} of {} bytes written, with memory to spare", written.len(), bytes.len()),
        )?;
        self.reference.written.extend_from_slice(written);
        Ok(())
    }

    pub(super) fn reserve(&mut self, room: Size, written: Amount, committed: Amount, lease: Pick) -> Checked {
        let room = room.get().min(self.budget);
        let n = written.within(room, room / 2);
        let bytes = self.bytes(n);
        let goes = lease.index(self.leases.len());
        let mut reserved = match self.writer.reserve(room) {
            Ok(reserved) => reserved,
            Err(error) => return self.may_not_write(error),
        };
        let (early, late) = bytes.split_at(n / 2);
        same("bytes written into a reservation", reserved.write(early), early.len())?;
        // Memory that comes back in between must not move what was written.
        if let Some(index) = goes {
            self.leases.remove(index);
            self.reference.leases.remove(index);
        }
        reserved.zeroed(late.len()).copy_from_slice(late);
        same("bytes left in a reservation", reserved.remaining(), room - n)?;
        let keep = committed.of(n, n / 2);
        let answer = reserved.commit(keep);
        if keep > n {
            return same(
                "commit of more than was written",
                answer,
                Err(WriteError::NotWritten { asked: keep, written: n }),
            );
        }
        same("commit", answer, Ok(keep))?;
        self.reference.written.extend_from_slice(&bytes[..keep]);
        Ok(())
    }

    pub(super) fn hole(&mut self, len: Size) -> Checked {
        let len = len.get().min(self.budget);
        self.budget -= len;
        match self.writer.hole(len) {
            Ok(hole) => {
                self.holes.push(hole);
                self.reference.hole(len);
                Ok(())
            }
            Err(error) => self.may_not_write(error),
        }
    }

    pub(super) fn fill(&mut self, hole: Pick) -> Checked {
        let Some(index) = hole.index(self.reference.holes()) else { return Ok(()) };
        let bytes = self.reference.pattern.next(self.reference.hole_len(index));
        let expected = match self.reference.fill(index, &bytes) {
            Fill::Filled => Ok(()),
            Fill::Gone => Err(WriteError::HoleGone),
        };
        same("filling a hole", self.writer.fill(self.holes.remove(index), &bytes), expected)
    }

    pub(super) fn fill_wrongly(&mut self, hole: Pick) -> Checked {
        let Some(index) = hole.index(self.reference.holes()) else { return Ok(()) };
        let len = self.reference.hole_len(index);
        self.reference.fill_wrongly(index);
        let answer = self.writer.fill(self.holes.remove(index), &vec![0; len + 1]);
        same("filling a hole with too much", answer, Err(WriteError::HoleSize { hole: len, given: len + 1 }))
    }

    pub(super) fn append(&mut self, size: Size, source: Source) -> Checked {
        let (segment, bytes) = match (source, self.leases.front(), self.reference.leases.front()) {
            (Source::Lease, Some(lease), Some(bytes)) if bytes.len() <= self.budget => {
                (lease.clone(), bytes.clone())
            }
            _ => {
                let bytes = self.bytes(size.get());
                let segment = match source {
                    Source::Owner => Segment::from_owner(bytes.clone().into_boxed_slice()),
                    Source::Bytes => Segment::from(Bytes::from(bytes.clone())),
                    Source::Vec | Source::Lease => Segment::from(bytes.clone()),
                };
                (segment, bytes)
            }
        };
        self.budget = self.budget.saturating_sub(bytes.len());
        let before = self.writer.len();
        if let Err(error) = self.writer.append(segment) {
            self.may_not_write(error)?;
        }
        self.note_written(before, &bytes)
    }

    pub(super) fn append_chain(&mut self, amount: Amount) -> Checked {
        let n = amount.within(self.chain.len(), self.chain.front().len());
        let taken = self.chain.split_to(n).map_err(|short| short.to_string())?;
        let bytes = self.reference.front(n).unwrap_or_default();
        self.reference.consume(n);
        let before = self.writer.len();
        if let Err(error) = self.writer.append_chain(taken) {
            self.may_not_write(error)?;
        }
        self.note_written(before, &bytes)
    }

    pub(super) fn take(&mut self) -> Checked {
        match (self.writer.take(), self.reference.take()) {
            (Ok(chain), Some(n)) => {
                same("length taken", chain.len(), n)?;
                self.chain.append(chain);
                Ok(())
            }
            (Err(WriteError::OpenHole), None) => Ok(()),
            (answer, expected) => Err(format!("taking answers {answer:?}, and should take {expected:?}")),
        }
    }

    pub(super) fn discard(&mut self) -> Checked {
        self.writer.discard();
        self.reference.discard();
        Ok(())
    }

    pub(super) fn new_tail(&mut self, size: Size) -> Checked {
        match self.pool.allocate(size.get()) {
            Ok(tail) => {
                ensure(tail.len() >= size.get(), || format!("a tail of {} bytes", tail.len()))?;
                same("bytes written in a fresh tail", tail.written(), 0)?;
                self.tail = Some(tail);
                Ok(())
            }
            Err(error) => self.may_lack_memory(error),
        }
    }

    /// Writes pattern into the tail; answers the bytes, if there is a tail.
    fn write_tail(&mut self, amount: Amount) -> Option<Vec<u8>> {
        let room = self.tail.as_ref()?.len();
        let bytes = self.bytes(amount.within(room, room));
        self.tail.as_mut()?.spare()[..bytes.len()].copy_from_slice(&bytes);
        Some(bytes)
    }

    pub(super) fn tail_push(&mut self, amount: Amount) -> Checked {
        let bytes = self.write_tail(amount);
        if let (Some(bytes), Some(tail)) = (bytes, &mut self.tail) {
            self.chain.push_written(tail, bytes.len());
            self.reference.unread.extend(&bytes);
        }
        Ok(())
    }

    pub(super) fn tail_commit(&mut self, amount: Amount) -> Checked {
        let bytes = self.write_tail(amount);
        if let (Some(bytes), Some(tail)) = (bytes, &mut self.tail) {
            let segment = tail.commit(bytes.len());
            self.keep(segment, bytes);
        }
        Ok(())
    }

    pub(super) fn tail_reset(&mut self) -> Checked {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        let before = (tail.len(), tail.written());
        let expected = if tail.reset() { (tail.capacity(), 0) } else { before };
        same("room and bytes written after a reset", (tail.len(), tail.written()), expected)
    }
}
