//! Programs for the buffers: a writer, a chain that is read, segments that are kept, and a stream between two ends.
//!
//! ```text
//!   Write, Reserve, Hole, Append ..  --Take-->  chain  --Slice, Pop-->  leases
//!   (written, not yet taken)                     | ^
//!                                  StreamPush    v |   Push (a lease goes back in)
//!                                              stream: in flight --Refill--> unread by its reader
//! ```
//!
//! [`Op`] is the alphabet, [`Program`] a word of it, [`Reference`] says what a program does in terms of vectors of
//! bytes, and [`scenarios`] are programs with a name, which serve as seeds.

mod op;
mod operand;
mod pattern;
mod program;
mod reference;
pub mod scenarios;
mod stream;

pub use op::Op;
pub use operand::{Amount, Count, Letter, Limit, Operand, Pick, Size, Source, Via};
pub use pattern::{NEVER, Pattern};
pub use program::{Program, programs};
pub use reference::{Fill, Reference};
pub use stream::{End, Found, Stream};
