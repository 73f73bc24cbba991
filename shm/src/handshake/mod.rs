//! How two processes that do not trust each other come to share memory.
//!
//! ```text
//!   client                                    server
//!     |  connect                                 |  accept; who is it? (`Policy`)
//!     |---- HELLO versions, features, nonce ---->|
//!     |<--- HELLO versions, features, nonce -----|
//!     |---- SETUP + region ---------------------->|  checks and maps it
//!     |<--------------------- SETUP + region ----|
//!     |  checks and maps it                      |
//!     |---- READY ------------------------------->|  may look at the client's region
//!     |<----------------------------- READY -----|
//!     |  may look at the server's region         |
//! ```
//!
//! * [`Automaton`] decides what comes next: frames in, acts out, no kernel.
//! * [`Handshake`] is the automaton with a socket, for a loop: it never blocks, and says what it waits for.
//! * [`connect`] and [`accept`] wait, for a thread that has nothing else to do.
//!
//! **Nobody waits for ever.** Each frame of the peer's must be there a [`step`](Options::step) after the one before, so a
//! handshake is over after three of them, however slowly bytes drip.
//!
//! **Nothing is believed.** Sizes come from the SETUP frame, which is a copy, never from the shared memory; what the kernel
//! says of the region must match them. Whoever turns the other down says why, once, in a REFUSED frame, and closes.
//!
//! A client that sends a question about statistics instead of its HELLO gets them, and no session.

mod automaton;
mod blocking;
mod error;
mod exchange;
mod policy;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::layout;
pub use crate::sys::EventFd;
pub use automaton::{Act, Agreed, Automaton, Limits, Offered, Outcome, Saying};
pub use blocking::{accept, ask_statistics, connect};
pub use error::{HandshakeError, Step};
pub use exchange::{Bells, Established, Handshake, Progress};
pub use policy::Policy;

/// Bits of what a side can do. Those that both can do are what is done.
pub mod features {
    /// Doorbells are an eventfd for each direction, and not bytes in the socket.
    pub const EVENT_FD: u32 = 1;
    /// Records are messages and parts of messages, and not pieces of a stream. Who can do this does nothing else.
    pub const MESSAGES: u32 = 2;
}

/// The smallest ring, in bytes.
pub const LEAST_RING: u32 = 4 << 10;
/// The largest ring, in bytes.
pub const MOST_RING: u32 = 1 << 20;

/// How the peer is told that there is something to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doorbell {
    /// By a byte in the session's socket. No more descriptors, and nothing that a peer could do about it.
    #[default]
    Socket,
    /// By an eventfd, if the peer wants that, too. Costs two descriptors a session. Only for peers that mean no harm: one
    /// that does can make a ring wait, see [`EventFd`].
    EventFd,
}

/// What the records of a session are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Pieces of two streams of bytes, one for each direction.
    #[default]
    Stream,
    /// Messages, whose borders are kept. A peer that wants a stream is refused.
    Messages,
}

/// What one side of a session wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bytes of our ring: a power of two, from 4 KiB to 1 MiB. Default: 64 KiB.
    pub ring: u32,
    /// The most bytes of the peer's arenas that we map; 0 for none. Default: 8 MiB.
    pub arena: u32,
    /// The most bytes of arenas of our own, out of which we lend: in steps of 1 MiB, up to 8 MiB, and never more than the peer
    /// maps; 0 for none. A session takes the first when it sends pieces of some KiB, and keeps what it has. Without any,
    /// large messages go through the ring. Default: 8 MiB.
    pub lend: u32,
    /// The most bytes that we map as one piece of sealed memory; 0 for none. Default: 64 MiB.
    pub bulk: u32,
    /// How doorbells ring. Default: in the socket.
    pub doorbell: Doorbell,
    /// What is sent. Drivers send streams, channels messages. Default: a stream.
    pub content: Content,
    /// Whose sessions are welcome. Default: those of our own user.
    pub policy: Policy,
    /// The time that each step of the handshake may take. Default: one second.
    pub step: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring: 64 << 10,
            arena: 8 << 20,
            lend: 8 << 20,
            bulk: 64 << 20,
            doorbell: Doorbell::default(),
            content: Content::default(),
            policy: Policy::default(),
            step: Duration::from_secs(1),
        }
    }
}

impl Options {
    fn features(&self) -> u32 {
        let bells = if self.doorbell == Doorbell::EventFd { features::EVENT_FD } else { 0 };
        let messages = if self.content == Content::Messages { features::MESSAGES } else { 0 };
        bells | messages
    }

    fn limits(&self) -> Limits {
        Limits { ring: self.ring, arena: self.arena, bulk: self.bulk }
    }
}

/// Whether a ring may have this many bytes.
fn is_ring(bytes: u32) -> bool {
    bytes.is_power_of_two() && (LEAST_RING..=MOST_RING).contains(&bytes)
}

/// The end of a step that begins now. A step without end lasts for a year.
fn after(now: Instant, step: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    now + step.min(YEAR)
}

/// The bytes of a region with a ring of this many.
fn region_len(ring: u32) -> usize {
    // A ring has at most a mebibyte.
    layout::RING + ring as usize
}
