//! A loop that is turned by hand: real sockets, a clock that the test moves, and no thread but the test's own. For
//! what must hold in one exact order of events: hand-overs between handlers, commands of handles, deadlines, the memory
//! budget, panics.

mod bench;
mod budget;
mod cases;
mod clock;
mod containing;
mod deadlines;
mod defects;
mod handles;
mod playing;
mod succeeding;
