//! Connections that were handed off, over real sockets: what the holder of a stream sees, and what a hostile peer
//! cannot do.

mod bed;
mod blocking;
mod drivers;
mod ends;
mod flow;
mod stopping;
