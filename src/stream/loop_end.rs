//! The loop's end of a stream, without its connection: what is to be done for each thing that happens.
//!
//! Whom it has news for it collects in [`Wakes`], which its caller wakes before it sleeps.

use super::shared::Shared;
use super::{Ended, MOST_PIECES, Options, PINNED_PIECES};
use crate::buffer::{Chain, LinkReader, LinkWriter, ReaderGone, Refill};
use crate::handover::Wakes;
use crate::sync::Arc;

/// What the connection is to do after bytes were passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Receive on.
    GoOn,
    /// Receive nothing, until the loop is woken and told to go on.
    Pause,
}

pub(super) struct LoopEnd {
    shared: Arc<Shared>,
    options: Options,
    /// None once the reader has been told the end, or is gone.
    incoming: Option<LinkWriter>,
    /// None once everything is taken.
    outgoing: Option<LinkReader>,
    /// Pieces passed on since the reader was last seen to have none.
    pieces: usize,
    /// Receiving is paused until at most so many bytes are unread.
    paused: Option<u64>,
}

impl LoopEnd {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Options,
        incoming: LinkWriter,
        outgoing: LinkReader,
    ) -> Self {
        Self { shared, options, incoming: Some(incoming), outgoing: Some(outgoing), pieces: 0, paused: None }
    }

    /// Passes on bytes that have arrived; throws them away when nobody reads any more.
    pub(super) fn arrived(&mut self, mut bytes: Chain, wakes: &mut Wakes) -> Receiving {
        let Some(incoming) = &mut self.incoming else { return Receiving::GoOn };
        if incoming.unconsumed() == 0 {
            self.pieces = 0;
        }
        self.pieces += bytes.pieces();
        if self.pieces > PINNED_PIECES {
            // The reader does not keep up; small pieces must not keep the loop's blocks for so long.
            bytes.compact();
        }
        if let Err(ReaderGone(_)) = incoming.push(bytes) {
            self.incoming = None;
            return Receiving::GoOn;
        }
        wakes.extend(self.shared.readable.take());
        let floor = if self.pieces > MOST_PIECES {
            0
        } else if incoming.unconsumed() > self.options.high as u64 {
            self.options.low as u64
        } else {
            return Receiving::GoOn;
        };
        self.paused = Some(floor);
        if self.may_go_on() { Receiving::GoOn } else { Receiving::Pause }
    }

    /// Whether receiving, which was paused, is to go on. If not, the reader wakes the loop when it has consumed more.
    pub(super) fn may_go_on(&mut self) -> bool {
        let Some(floor) = self.paused else { return false };
        self.shared.full.arm();
        let waits = self.incoming.as_ref().is_some_and(|it| it.unconsumed() > floor && !it.is_reader_gone());
        if !waits {
            self.shared.full.disarm();
            self.paused = None;
        }
        !waits
    }

    /// The bytes that the reader has yet to consume.
    pub(super) fn unread(&self) -> usize {
        let unread = self.incoming.as_ref().map_or(0, LinkWriter::unconsumed);
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// No bytes will follow.
    pub(super) fn ended(&mut self, wakes: &mut Wakes) {
        if let Some(incoming) = self.incoming.take() {
            incoming.finish();
            wakes.extend(self.shared.readable.take());
        }
    }

    /// Takes everything that the writer has written.
    pub(super) fn take(&mut self, wakes: &mut Wakes) -> Chain {
        let Some(outgoing) = &mut self.outgoing else { return Chain::new() };
        let refill = outgoing.refill();
        let chain = std::mem::take(outgoing.unread());
        match refill {
            Ok(Refill::Open(0)) => return chain,
            Ok(Refill::Open(_)) => outgoing.release(),
            // A writer that went away has said everything.
            Ok(Refill::Complete(_)) | Err(_) => {
                self.outgoing = None;
                self.shared.set_taken();
            }
        }
        wakes.extend(self.shared.writable.take());
        chain
    }

    /// Whether nothing more will be written.
    pub(super) fn is_written(&self) -> bool {
        self.outgoing.is_none()
    }

    /// Whether nobody will read what arrives.
    pub(super) fn is_read(&mut self) -> bool {
        self.incoming.take_if(|it| it.is_reader_gone());
        self.incoming.is_none()
    }

    pub(super) fn at_drain(&self) -> super::AtDrain {
        self.options.at_drain
    }

    /// The connection is gone.
    pub(super) fn gone(&mut self, why: Ended) {
        if self.shared.ended().is_some() {
            return;
        }
        self.shared.set_ended(why);
        // Severs a stream whose end was not told.
        self.incoming = None;
        self.outgoing = None;
        self.shared.readable.wake();
        self.shared.writable.wake();
    }
}

impl Drop for LoopEnd {
    /// Without a word from the connection: its loop is gone, or it has never begun.
    fn drop(&mut self) {
        self.gone(Ended::LoopGone);
    }
}
