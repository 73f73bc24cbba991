#![doc = include_str!("../README.md")]

pub mod buffer;
pub mod conn;
pub mod driver;
pub mod handover;
pub mod net;
mod panics;
pub mod reactor;
pub mod service;
pub mod stream;
#[doc(hidden)]
pub mod sync;
mod sys;
#[doc(hidden)]
pub use sys::faults;
#[doc(hidden)]
pub mod timer;
mod trace;
