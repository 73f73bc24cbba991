//! Channels, over a path, with both ends in this process or in another one.

mod bed;
mod ends;
mod hostile;
mod lengths;
mod waits;
