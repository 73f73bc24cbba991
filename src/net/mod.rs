//! Servers: loops on threads, and the addresses they listen at.

mod builder;
mod server;
mod socket_file;

pub use crate::reactor::Stopper;
pub use crate::sys::Address;
pub use builder::{Accept, ServerBuilder};
pub use server::{Server, Usage};
