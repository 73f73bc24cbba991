//! The core's servers and clients, over shared memory: nothing in them knows it.

mod bed;
mod both;
mod calling;
mod leaving;
mod lending;
