//! Connections that are closed while the kernel still has memory of them.
//!
//! KERNEL: after close(2) the bytes still go out from our pages, and nothing tells any more when that is over. So both
//! directions are shut down, the descriptor is kept until the last notification, and then closed. Who does not give
//! the memory back in time (a peer that is gone) does not get to keep it either: its blocks get fresh pages, which ends
//! the sharing at once; the old pages stay with the kernel until it is done with them.
//!
//! A block that somebody else still holds, as a message kept or as a writer's current block, waits for that: it cannot
//! get into other hands meanwhile. Tokens wait with it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use linkpoll::buffer::Segment;
use linkpoll::driver::{Key, Token};

use super::line::{Line, exchange, exchange_or_leak};
use super::stats::LendingStats;

/// How often blocks in quarantine are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A closed connection.
#[derive(Debug)]
pub(super) struct Departed {
    pub(super) fd: OwnedFd,
    pub(super) line: Line,
}

/// All of them; see the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Graveyard {
    departed: HashMap<Key, Departed>,
    /// When the patience with each ends, in order: all get equally long.
    ends: VecDeque<(Instant, Key)>,
    quarantine: Quarantine,
}

#[derive(Debug, Default)]
struct Quarantine {
    blocks: Vec<Segment>,
    tokens: Vec<Token>,
}

impl Graveyard {
    /// Takes one in. Answers an earlier one of the same key: nobody will hear of that any more.
    pub(super) fn insert(&mut self, key: Key, departed: Departed, until: Instant) -> Option<Departed> {
        self.ends.push_back((until, key));
        self.departed.insert(key, departed)
    }

    /// Puts one back that was taken out, with the patience that is left.
    pub(super) fn put_back(&mut self, key: Key, departed: Departed) {
        self.departed.insert(key, departed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.quarantine.blocks.is_empty()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Departed> {
        self.departed.remove(&key)
    }

    /// The connections whose time is over, one at a time.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Departed> {
        while let Some((until, key)) = self.ends.front().copied() {
            if until > now && self.departed.contains_key(&key) {
                return None;
            }
            self.ends.pop_front();
            if let Some(departed) = self.departed.remove(&key) {
                return Some(departed);
            }
        }
        None
    }

    /// How long nothing here changes by itself.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let end = self.ends.front().map(|(until, _)| until.saturating_duration_since(now));
        let look = (!self.quarantine.blocks.is_empty()).then_some(LOOK);
        match (end, look) {
            (Some(end), Some(look)) => Some(end.min(look)),
            (end, look) => end.or(look),
        }
    }

    /// Sees to it that memory which was not given back never gets into other hands as it is.
    pub(super) fn quarantine(&mut self, segments: Vec<Segment>, tokens: Vec<Token>, stats: &LendingStats) {
        self.quarantine.tokens.extend(tokens);
        for segment in segments {
            // Of several views of one block one is enough; and while there are two, nobody is alone with it.
            if !self.quarantine.blocks.iter().any(|other| other.shares_block_with(&segment)) {
                stats.quarantined.add(1);
                self.quarantine.blocks.push(segment);
            }
        }
    }

    /// Lets go of blocks that got fresh pages. Answers the tokens that waited for them, once none is left.
    pub(super) fn look(&mut self) -> Vec<Token> {
        let Quarantine { blocks, tokens } = &mut self.quarantine;
        if !blocks.is_empty() {
            let kept = std::mem::take(blocks).into_iter().filter_map(|segment| exchange(segment).err());
            *blocks = kept.collect();
        }
        if blocks.is_empty() { std::mem::take(tokens) } else { Vec::new() }
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        exchange_or_leak(std::mem::take(&mut self.blocks));
    }
}
