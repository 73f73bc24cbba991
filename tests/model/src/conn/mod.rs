//! Programs for connections: what peers, the kernel and handlers do, in which order.
//!
//! ```text
//!   peers:    Connect, Arrive, End, Reset, Room ..      the script of a kernel that is played
//!   handlers: Decide                                    what the next call of a handler does
//!   handles:  Wake, Pause, Resume, Send, Dial ..      what other threads ask for
//!   loop:     Turn, Stop, Pass
//! ```
//!
//! [`Op`] is the alphabet, [`Program`] a word of it. What happens when a program runs is noted down, and [`audit()`]
//! says whether that is what connections are promised.

mod audit;
mod note;
mod op;
mod patience;
mod pattern;
mod program;
pub mod scenarios;

pub use audit::audit;
pub use note::{Answer, Asked, Callback, Ended, Note, Receipt, Why};
pub use op::{Attempt, Behaviour, Decision, Length, Op, Outcome, Size};
pub use pattern::{Direction, bytes, is_pattern};
pub use program::{Limits, Program, Setup, programs};
