//! Connections that are closed while the kernel still has memory of them.
//!
//! KERNEL: after close(2) the bytes still go out from our pages, and nothing tells any more when that is over. So both
//! directions are shut down, the descriptor is kept until the last notification, and then closed. Who does not give
//! the memory back in time (a peer that is gone) does not get to keep it either: its blocks get fresh pages, which ends
//! the sharing at once; the old pages stay with the kernel until it is done with them.
//!
//! A block that somebody else still holds, as a message kept or as a writer's current block, waits for that: it cannot
//! get into other hands meanwhile. The tokens of its connection wait with it, and no others.

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
    /// When the patience with each ends. In order, for all get equally long, but for one that cannot be watched: that one is
    /// looked at no later than those before it.
    ends: VecDeque<(Instant, Key)>,
    quarantine: Quarantine,
}

/// Blocks that were not given back. One may have been lent by several connections, which let go of it together.
#[derive(Debug, Default)]
struct Quarantine {
    blocks: Vec<Kept>,
    graves: HashMap<u64, Grave>,
    /// The name of the last grave.
    last: u64,
}

#[derive(Debug)]
struct Kept {
    segment: Segment,
    /// Whose tokens wait for it.
    graves: Vec<u64>,
}

/// What waits for the blocks of one connection.
#[derive(Debug)]
struct Grave {
    tokens: Vec<Token>,
    /// Blocks that are not free yet.
    blocks: usize,
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
        self.ends.is_empty() && self.quarantine.graves.is_empty()
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
        let look = (!self.quarantine.graves.is_empty()).then_some(LOOK);
        match (end, look) {
            (Some(end), Some(look)) => Some(end.min(look)),
            (end, look) => end.or(look),
        }
    }

    /// Sees to it that memory which was not given back never gets into other hands as it is.
    pub(super) fn quarantine(&mut self, segments: Vec<Segment>, tokens: Vec<Token>, stats: &LendingStats) {
        let quarantine = &mut self.quarantine;
        quarantine.last += 1;
        let grave = quarantine.last;
        let mut blocks = 0;
        for segment in segments {
            // Of several views of one block one is enough; and while there are two, nobody is alone with it.
            let known = quarantine.blocks.iter_mut().find(|other| other.segment.shares_block_with(&segment));
            match known {
                Some(kept) if kept.graves.last() == Some(&grave) => continue,
                Some(kept) => kept.graves.push(grave),
                None => {
                    stats.quarantined.add(1);
                    quarantine.blocks.push(Kept { segment, graves: vec![grave] });
                }
            }
            blocks += 1;
        }
        quarantine.graves.insert(grave, Grave { tokens, blocks });
    }

    /// Lets go of blocks that got fresh pages, and releases the tokens of those connections none of whose blocks is left.
    pub(super) fn look(&mut self, stats: &LendingStats, mut release: impl FnMut(Token)) {
        let Quarantine { blocks, graves, .. } = &mut self.quarantine;
        let mut left = Vec::new();
        for Kept { segment, graves: waiting } in std::mem::take(blocks) {
            match exchange(segment) {
                Err(segment) => left.push(Kept { segment, graves: waiting }),
                Ok(()) => {
                    stats.exchanged.add(1);
                    for grave in waiting {
                        if let Some(grave) = graves.get_mut(&grave) {
                            grave.blocks -= 1;
                        }
                    }
                }
            }
        }
        *blocks = left;
        for (_, grave) in graves.extract_if(|_, grave| grave.blocks == 0) {
            grave.tokens.into_iter().for_each(&mut release);
        }
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        exchange_or_leak(std::mem::take(&mut self.blocks).into_iter().map(|kept| kept.segment).collect());
    }
}
