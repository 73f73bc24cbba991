//! Where things lie in the region that a side owns. Part of the wire: a change is a new version of the protocol.
//!
//! ```text
//!       0  magic, version               informational: the geometry comes from the handshake alone
//!     128  tail                         how many bytes of my ring I have published
//!     256  head, released               how much of your ring I have consumed; how many releases I have published
//!     384  wake_at, space_at, release_at  when I want a doorbell
//!     512  releases                     memory of yours that I am done with: a ring of RELEASES numbers
//!    8192  the byte ring                a power of two
//! ```
//!
//! All words are little-endian `u32`, all counters run freely and wrap. Words that different sides look at while
//! others are written lie 128 bytes apart: two cache lines, because processors fetch lines in pairs.
//!
//! Whether a direction has ended is no word but the last record of its ring, so it cannot overtake what it ends.

/// Bytes published in this region's ring.
pub const TAIL: usize = 128;
/// Bytes consumed from the other region's ring.
pub const HEAD: usize = 256;
/// Releases published in this region.
pub const RELEASED: usize = 260;
/// The owner wants a doorbell once the other's `tail` passes this.
pub const WAKE_AT: usize = 384;
/// The owner wants a doorbell once the other's `head` passes this.
pub const SPACE_AT: usize = 388;
/// The owner wants a doorbell once the other's `released` passes this.
pub const RELEASE_AT: usize = 392;
/// The first release.
pub const RELEASE_RING: usize = 512;
/// How many releases there is room for: a power of two, and no fewer than a side may have lent at a time.
pub const RELEASES: usize = 1024;
/// The first byte of the ring.
pub const RING: usize = 8192;
/// The smallest ring.
pub const LEAST_CAPACITY: usize = 4096;
/// The largest ring: counters must be able to tell a full ring from an empty one.
pub const MOST_CAPACITY: usize = 1 << 30;

const _: () = assert!(RELEASE_RING + RELEASES * size_of::<u32>() <= RING);
const _: () = assert!(RELEASES.is_power_of_two());
