//! Ways of moving bytes that are on trial for [`linkpoll`], and `lab`, the program that measures them.
//!
//! The core knows nothing of this package. What wins here earns its place by the numbers `lab run` prints.
//!
//! ```text
//! lab run       compare every transport with a hand-written epoll loop on this machine
//! lab serve     serve one transport
//! lab load      drive a server and verify every reply
//! lab doctor    find out what this kernel and user may do
//! ```

mod any;
#[cfg(feature = "batch")]
pub mod batch;
pub mod delays;
mod lent;
#[cfg(feature = "uring")]
pub mod uring;
#[cfg(feature = "zerocopy")]
pub mod zerocopy;

pub use any::{AnyDriver, Choice, DriverOptions, Transport, choose};
pub use lent::LentMemory;
