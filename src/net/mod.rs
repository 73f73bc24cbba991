//! Loops on threads: servers and the addresses they listen at, and connections that are brought to loops.

mod builder;
mod dialer;
mod limits;
mod loops;
mod server;
mod socket_file;

pub use crate::reactor::{Attempt, DialError, Stopper};
pub use crate::sys::Address;
pub use builder::{Accept, ServerBuilder};
pub use dialer::{DialOptions, Dialer, Dialling};
pub use loops::{Loops, LoopsBuilder, Usage};
pub use server::Server;
