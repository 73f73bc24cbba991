//! Processes that are killed under load, as `kill -9` does it, at moments that chance decides.
//!
//! A victim is this test program again, running one of the tests in `victims.rs`. Its killer waits for a while that is
//! different each time: from the first moment of a victim's life, through its handshake, into its traffic.
//!
//! | victim | survivor |
//! |---|---|
//! | a client: calls through the library, or half-closes without it | a server, and a client of it that does not notice |
//! | a server | clients of the library, with calls under way |
//! | either side of a session without a loop | the other: it receives all that was published |

mod bare_peers;
pub(crate) mod bystander;
pub(crate) mod calls;
mod clients;
mod servers;
#[cfg(linkpoll_faults)]
mod steps;
pub(crate) mod victim;
pub(crate) mod victims;

use std::thread;
use std::time::Duration;

use crate::bed::{Random, variable};

/// How many processes of each kind are killed, of three kinds, unless `LINKPOLL_KILLS` says another number. Where processes
/// die by their own order, too (`steps.rs`), fewer do by chance.
const KILLS: u64 = if cfg!(linkpoll_faults) { 100 } else { 340 };

fn kills() -> u64 {
    variable("LINKPOLL_KILLS").unwrap_or(KILLS)
}

/// Waits for up to `most`, mostly much less: the first moments are where most happens.
fn some_time(number: u64, most: Duration) {
    let mut random = Random(number);
    let scale = u64::try_from(most.as_nanos()).expect("a short time") >> (random.next() % 6);
    thread::sleep(Duration::from_nanos(random.next() % scale.max(1)));
}
