//! Shared memory between processes of one host, as a transport of linkpoll.
//!
//! Each side owns the memory that it writes, and the other side maps it read-only: **no byte has two writers**. What the
//! peer can still change is never a `&[u8]`: it is copied out once, and every index is copied, checked, and only then used.
//! The first violation ends the session with a typed error.
//!
//! Every byte that two processes say to each other is in `PROTOCOL.md`.

pub mod bulk;
pub mod channel;
pub mod driver;
pub mod handshake;
pub mod layout;
pub mod region;
pub mod ring;
pub mod session;
pub mod slots;
pub mod storage;
mod sys;
mod violation;
pub mod wake;
pub mod wire;

pub use channel::Channel;
pub use driver::{ShmDriver, ShmOptions, ShmSocket};
#[doc(hidden)]
pub use sys::Site;
pub use violation::Violation;
