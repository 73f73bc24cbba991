//! System calls that fail, are short or are interrupted; peers and servers that are killed.
//!
//! Built with `cfg(linkpoll_faults)` only, as `cargo verify asan` does.
#![cfg(linkpoll_faults)]

mod bed;
mod chance;
mod client;
mod detaching;
mod dialling;
mod echoing;
mod kills;
mod matrix;
mod memory;
mod news;
mod scheduling;
mod serving;
mod starting;
