//! The reading side: a chain.

use std::fmt::Display;
use std::io::{BufRead, IoSlice, Read};

use bytes::Buf;
use linkpoll::buffer::{ReadError, Segment, Short};
use linkpoll_model::buffer::{Amount, Count, Letter};

use super::Machine;
use super::check::{Checked, ensure, same, same_bytes, same_pieces};

impl Machine {
    pub(super) fn check_chain(&self) -> Checked {
        let (chain, unread) = (&self.chain, &self.reference.unread);
        same("length of the chain", chain.len(), unread.len())?;
        same("whether the chain is empty", chain.is_empty(), unread.is_empty())?;
        let total = same_pieces("the chain", chain.segments().map(|segment| &**segment), unread)?;
        same("total of the pieces", total, unread.len())?;
        same("number of pieces", chain.pieces(), chain.segments().count())?;
        same("remaining", chain.remaining(), unread.len())?;
        same_bytes("first piece", chain.front(), chain.segments().next().map_or(&[], |segment| &**segment))
    }

    fn amount(&self, amount: Amount) -> usize {
        amount.of(self.chain.len(), self.chain.front().len())
    }

    fn short(&self, asked: usize) -> Short {
        Short { asked, have: self.reference.unread.len() }
    }

    pub(super) fn peek(&mut self, amount: Amount) -> Checked {
        let n = self.amount(amount);
        let expected = self.reference.front(n).ok_or(ReadError::Short(self.short(n)));
        answers("peek", self.chain.peek(n), &expected)
    }

    pub(super) fn next(&mut self, amount: Amount) -> Checked {
        let n = self.amount(amount);
        let expected = self.reference.front(n).ok_or(ReadError::Short(self.short(n)));
        answers("next", self.chain.next(n), &expected)?;
        if expected.is_ok() {
            self.reference.consume(n);
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, amount: Amount) -> Checked {
        let n = self.amount(amount);
        let there = n <= self.reference.unread.len();
        same("skip", self.chain.skip(n), if there { Ok(()) } else { Err(self.short(n)) })?;
        if there {
            self.reference.consume(n);
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, amount: Amount) -> Checked {
        let n = self.amount(amount);
        let expected = self.reference.front(n).ok_or(ReadError::Short(self.short(n)));
        let real = self.chain.slice(n);
        answers("slice", real.as_deref().map_err(|error| *error), &expected)?;
        if let (Ok(segment), Ok(bytes)) = (real, expected) {
            self.reference.consume(n);
            self.keep(segment, bytes);
        }
        Ok(())
    }

    pub(super) fn rotate(&mut self, amount: Amount) -> Checked {
        let n = self.amount(amount);
        match self.chain.split_to(n) {
            Ok(taken) => {
                let bytes = self.reference.front(n).ok_or("more was taken than is there")?;
                same("length taken", taken.len(), n)?;
                same_pieces(
                    "what was taken",
                    taken.segments().map(|segment| &**segment),
                    &bytes.clone().into(),
                )?;
                self.chain.append(taken);
                self.reference.consume(n);
                self.reference.unread.extend(&bytes);
                Ok(())
            }
            Err(short) => {
                ensure(n > self.reference.unread.len(), || format!("take of {n} failed: {short}"))?;
                same("take", short, self.short(n))
            }
        }
    }

    pub(super) fn until(&mut self, delimiter: Letter) -> Checked {
        let expected = self.reference.find(delimiter.get()).and_then(|n| self.reference.front(n));
        match (self.chain.until(delimiter.get()).map_err(|error| error.to_string())?, &expected) {
            (Some(real), Some(bytes)) => same_bytes("until", real, bytes)?,
            (real, _) => same("whether the delimiter is there", real.is_some(), expected.is_some())?,
        }
        self.reference.consume(expected.map_or(0, |bytes| bytes.len()));
        Ok(())
    }

    pub(super) fn find(&mut self, delimiter: Letter) -> Checked {
        same("find", self.chain.find(delimiter.get()), self.reference.find(delimiter.get()))
    }

    pub(super) fn pop(&mut self) -> Checked {
        let first = self.chain.front().len();
        let popped = self.chain.pop();
        same("whether there is a piece", popped.is_some(), !self.reference.unread.is_empty())?;
        let Some(segment) = popped else { return Ok(()) };
        same("length of the first piece", segment.len(), first)?;
        let bytes = self.reference.front(segment.len()).ok_or("the first piece is longer than all")?;
        same_bytes("first piece", &segment, &bytes)?;
        self.reference.consume(bytes.len());
        self.keep(segment, bytes);
        Ok(())
    }

    pub(super) fn io_slices(&mut self, entries: Count) -> Checked {
        let mut into = vec![IoSlice::new(&[]); entries.get()];
        let filled = self.chain.io_slices(&mut into);
        same("entries filled", filled, entries.get().min(self.chain.pieces()))?;
        same_pieces(
            "what was gathered",
            into[..filled].iter().map(|entry| &**entry),
            &self.reference.unread,
        )?;
        ensure(into[filled..].iter().all(|entry| entry.is_empty()), || "an entry beyond was touched".into())
    }

    pub(super) fn read(&mut self, amount: Amount) -> Checked {
        let have = self.chain.len();
        let mut into = vec![0; self.amount(amount).min(have + 1)];
        let n = self.chain.read(&mut into).map_err(|error| error.to_string())?;
        same("bytes read", n, into.len().min(have))?;
        same_bytes("what was read", &into[..n], &self.reference.front(n).unwrap_or_default())?;
        self.reference.consume(n);
        Ok(())
    }

    pub(super) fn read_buffered(&mut self, amount: Amount) -> Checked {
        let n = self.amount(amount).min(self.chain.len());
        let buffered = self.chain.fill_buf().map_err(|error| error.to_string())?;
        ensure(!buffered.is_empty() || self.reference.unread.is_empty(), || "nothing buffered".into())?;
        let n = n.min(buffered.len());
        self.chain.consume(n);
        self.reference.consume(n);
        Ok(())
    }

    pub(super) fn advance(&mut self, amount: Amount) -> Checked {
        let n = amount.within(self.chain.len(), self.chain.front().len());
        let copied = n.min(100);
        let bytes = self.chain.copy_to_bytes(copied);
        same_bytes("copied out", &bytes, &self.reference.front(copied).unwrap_or_default())?;
        self.chain.advance(n - copied);
        self.reference.consume(n);
        Ok(())
    }

    pub(super) fn compact(&mut self) -> Checked {
        self.chain.compact();
        for segment in self.chain.segments() {
            let (len, block) = (segment.len(), segment.block().capacity());
            ensure(len >= block / 8, || format!("{len} bytes keep a block of {block} after compaction"))?;
        }
        Ok(())
    }

    pub(super) fn push_pieces(&mut self, count: Count) -> Checked {
        let bytes = self.bytes(2 * count.get());
        let whole = Segment::copy_of(&bytes);
        for at in (0..bytes.len()).step_by(2) {
            self.chain.push(whole.slice(at..=at));
            self.reference.unread.push_back(bytes[at]);
        }
        Ok(())
    }
}

fn answers<E: PartialEq + Display>(
    what: &str,
    real: Result<&[u8], E>,
    expected: &Result<Vec<u8>, E>,
) -> Checked {
    match (real, expected) {
        (Ok(real), Ok(expected)) => same_bytes(what, real, expected),
        (Err(real), Err(expected)) if real == *expected => Ok(()),
        (Err(real), _) => Err(format!("{what} fails: {real}")),
        (Ok(_), Err(expected)) => Err(format!("{what} succeeds, but should fail: {expected}")),
    }
}
