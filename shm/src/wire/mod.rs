//! What is said over the session's socket. `PROTOCOL.md` has every byte of it.
//!
//! ```text
//!   | kind u8 | descriptors u8 | length u16 | body ...... |      little-endian; a doorbell is its kind alone
//! ```
//!
//! * [`Frame`] is one message, with the descriptors that belong to it; [`frame`] encodes and decodes bodies.
//! * [`Inbox`] makes frames of bytes and descriptors as they arrive, cut anywhere. It is pure.
//! * [`Control`] is the socket with an inbox and an outbox. It never blocks.
//!
//! **Descriptors belong to the frame whose bytes they came with.** A frame with descriptors is sent by a call of its own,
//! and a receive ends with the bytes of the send whose descriptors it answers (unix(7)); but bytes that were sent before
//! may come along, and the frame may come in parts. So they belong to the frame in which the receive ended, and a frame
//! must have just as many as it says. At most `MOST_DESCRIPTORS` ever wait: those of a frame of which a part is
//! missing, and those of the frame behind it.

mod control;
pub mod frame;
mod inbox;
mod refusal;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tests;

pub use crate::sys::Credentials;
pub(crate) use crate::sys::MOST_DESCRIPTORS;
pub use control::{Arrival, Control, ControlError};
pub use frame::{AddArena, Bulk, Frame, FrameError, Hello, MAGIC, Role, Setup, VERSIONS};
pub use inbox::Inbox;
pub use refusal::Refusal;
