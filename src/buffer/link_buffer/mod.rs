//! A stream of segments from one thread to another; neither ever waits for the other.
//!
//! # Protocol
//!
//! Segments travel through a linked list of chunks. Two words are shared, each stored by one side only:
//!
//! | word | stored by | holds |
//! |---|---|---|
//! | `published` | writer | bytes published so far, and how the stream ended: [`EOF`] or [`SEVERED`] |
//! | `consumed` | reader | bytes consumed so far, and whether the reader is [`GONE`] |
//!
//! Slots and links of chunks are plain cells. Who may touch one follows from the words:
//!
//! 1. The writer fills slots, links the next chunk, then stores `published` (Release). The reader takes a slot, or
//!    follows a link, only while the bytes it has taken differ from `published` (Acquire): what it is about to touch
//!    was written before.
//! 2. The end of the stream shares its word with the bytes, so a reader that sees the end has seen every byte (X-27).
//! 3. The reader stores `consumed` (Release) after it has taken slots. A writer that sees (Acquire) more bytes
//!    consumed than there were up to the end of a chunk knows that the reader has left that chunk for ever, and uses
//!    it again. So chunks circulate, and no third word is needed.
//!
//! ```text
//!   oldest (writer's)        reader                     writer
//!      |                        |                          |
//!   [ taken ] -> [ taken ] -> [ taken | full ] -> [ full | empty ]
//!   `---- consumed > end: the writer may reuse ----'
//! ```
//!
//! High-water marks are the writer's business: [`LinkWriter::unconsumed`] tells what is on the way.

mod chunk;
mod reader;
mod writer;

pub use reader::{LinkReader, Refill, Severed};
pub use writer::{LinkWriter, ReaderGone};

use crate::sync::{Arc, AtomicU64, UnsafeCell};
use chunk::Chunk;

/// In `published`: the stream is complete.
const EOF: u64 = 1;
/// In `published`: the writer went away without completing the stream.
const SEVERED: u64 = 2;
/// In `consumed`: the reader went away.
const GONE: u64 = 1;
/// Both words keep their bytes above this many flag bits: 2^62 bytes, 146 years at 1 GB/s.
const FLAG_BITS: u32 = 2;

/// Makes pairs of ends.
#[derive(Debug)]
pub struct LinkBuffer;

impl LinkBuffer {
    /// The two ends of a new, empty stream.
    #[expect(clippy::new_ret_no_self, reason = "the stream has no other handle than its two ends")]
    #[must_use]
    pub fn new() -> (LinkWriter, LinkReader) {
        let first = Chunk::allocate();
        let shared = Arc::new(Shared {
            published: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            oldest: UnsafeCell::new(first),
        });
        (LinkWriter::new(Arc::clone(&shared), first), LinkReader::new(shared, first))
    }
}

struct Shared {
    published: AtomicU64,
    consumed: AtomicU64,
    /// The first chunk of the list. Touched by the writer, and by the drop after both ends are gone.
    oldest: UnsafeCell<*mut Chunk>,
}

#[expect(unsafe_code, reason = "the two ends divide the cells between them")]
mod ends {
    use super::{Chunk, Shared};

    // SAFETY: slots and links follow the protocol of the module; `oldest` is the writer's until both ends are gone.
    unsafe impl Send for Shared {}
    // SAFETY: as above.
    unsafe impl Sync for Shared {}

    impl Drop for Shared {
        fn drop(&mut self) {
            let mut chunk = self.oldest.with(|oldest| {
                // SAFETY: both ends are gone, so this is the only access.
                unsafe { *oldest }
            });
            while !chunk.is_null() {
                // SAFETY: the chunk is in the list, which belongs to this drop alone.
                chunk = unsafe { Chunk::free(chunk) };
            }
        }
    }
}
