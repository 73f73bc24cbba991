//! What a session must endure: long and mixed traffic, lost and needless doorbells, processes that are stopped for a while,
//! and peers that do not read, or give nothing back.
//!
//! | variable | |
//! |---|---|
//! | `LINKPOLL_SOAK_SECONDS` | how long the soaks take (default: 4 each) |
//! | `LINKPOLL_SOAK_SEED` | the seed of the first round, as it was printed (default: from the clock) |

mod bed;
mod between;
mod conversation;
mod doorbells;
mod silence;
mod soak;
mod stopping;
