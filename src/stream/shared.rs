//! What the loop's end and the two halves of a stream share, beside the buffers.

use super::Ended;
use crate::conn::Handle;
use crate::handover::{SleepFlag, WakerSlot};
use crate::net::Address;
use crate::sync::{AtomicU64, Ordering};

/// In the word: the loop has taken everything that the writer has written, and its end.
const TAKEN: u64 = 1;
/// The code of an [`Ended`] stands above the flag.
const CODE: u32 = 1;

pub(super) struct Shared {
    /// Where the reader waits for bytes, and for their end.
    pub(super) readable: WakerSlot,
    /// Where the writer waits until the loop has taken bytes.
    pub(super) writable: WakerSlot,
    /// Announces that the loop waits until the reader has consumed.
    pub(super) full: SleepFlag,
    /// Stored by the loop only; see the constants above.
    word: AtomicU64,
    /// Reaches the loop's end.
    pub(super) handle: Handle,
    pub(super) peer: Address,
}

impl Shared {
    pub(super) fn new(handle: Handle, peer: Address) -> Self {
        Self {
            readable: WakerSlot::new(),
            writable: WakerSlot::new(),
            full: SleepFlag::new(),
            word: AtomicU64::new(0),
            handle,
            peer,
        }
    }

    /// Why the connection is gone, if it is.
    pub(super) fn ended(&self) -> Option<Ended> {
        Ended::from_code(self.word() >> CODE)
    }

    /// Whether the loop has taken everything, up to the writer's end.
    pub(super) fn is_taken(&self) -> bool {
        self.word() & TAKEN != 0
    }

    fn word(&self) -> u64 {
        // ORDERING: Relaxed: the value is all there is to see. Who waits for it is woken after it was stored, and looks
        // again behind the fence of its slot; who found an end in a buffer was ordered behind it by that.
        self.word.load(Ordering::Relaxed)
    }

    /// Loop: has taken everything.
    pub(super) fn set_taken(&self) {
        self.set(self.word() | TAKEN);
    }

    /// Loop: the connection is gone.
    pub(super) fn set_ended(&self, why: Ended) {
        self.set(self.word() & TAKEN | why.code() << CODE);
    }

    fn set(&self, word: u64) {
        // ORDERING: Relaxed: see `word`. What the reader finds after the end of its buffer is published by that end.
        self.word.store(word, Ordering::Relaxed);
    }
}
