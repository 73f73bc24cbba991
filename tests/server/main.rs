//! Servers over real sockets: what an application sees, and what a hostile peer cannot do.

mod addresses;
mod calling;
mod cases;
mod client;
mod counting;
mod detaching;
mod dialling;
mod drivers;
mod echoing;
mod ending;
mod handles;
mod hostile;
mod limits;
mod panics;
mod patience;
mod placing;
mod pooled;
mod recorder;
mod services;
mod signals;
mod starting;
mod stopping;
mod unix_files;
