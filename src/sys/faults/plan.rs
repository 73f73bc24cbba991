//! What is to happen, and what has happened.
//!
//! There is one plan for the process. It lives in statics, which a call reads without a lock: while one plan replaces
//! another, a call may see a part of each. So tests that share a process take turns.

use super::{Fault, Place, Site};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The most faults of one place.
const FAULTS: usize = 24;
const NONE: usize = usize::MAX;

/// What is to happen at one place, and what has happened.
#[derive(Debug)]
pub struct Rule {
    /// Different for each place under one plan: what chance makes of a seed depends on it.
    number: AtomicU64,
    /// The calls counted under the present plan.
    calls: AtomicU64,
    /// Which fault, by its place in the table, happens to the calls `from..until`.
    fault: AtomicUsize,
    from: AtomicU64,
    until: AtomicU64,
    /// Which faults happen by chance: a bit for each.
    by_chance: AtomicU64,
    /// How often each fault has happened, under all plans.
    executed: [AtomicU64; FAULTS],
}

impl Rule {
    /// Nothing is to happen, and nothing has.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "rules are statics")]
    pub const fn new() -> Self {
        Self {
            number: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            fault: AtomicUsize::new(NONE),
            from: AtomicU64::new(0),
            until: AtomicU64::new(0),
            by_chance: AtomicU64::new(0),
            executed: [const { AtomicU64::new(0) }; FAULTS],
        }
    }
}

static ACTIVE: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);
/// Of a million calls so many fail by chance.
static CHANCE: AtomicU64 = AtomicU64::new(0);
static LOOPS_ONLY: AtomicBool = AtomicBool::new(false);

/// What is to happen to the calls of this process.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    rules: Vec<(&'static Rule, usize, u64, u64)>,
    seed: u64,
    per_million: u64,
    spared: Vec<(&'static Rule, usize)>,
    /// The rules of further packages, each with how many faults its place knows.
    further: Vec<(&'static Rule, usize)>,
    loops_only: bool,
}

impl Plan {
    /// Nothing happens; calls are counted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At `site`, `fault` happens to `times` calls, of which the first is the `nth` from now, counted from 0. One rule
    /// for each site.
    ///
    /// # Panics
    /// When `fault` is not in the site's table.
    #[must_use]
    pub fn fail(mut self, site: impl Place, fault: Fault, nth: u64, times: u64) -> Self {
        self.rules.push((site.rule(), number(site, fault), nth, nth.saturating_add(times)));
        self
    }

    /// Of a million calls about so many fail, at every site, by a chance that `seed` decides.
    #[must_use]
    pub fn by_chance(mut self, seed: u64, per_million: u64) -> Self {
        (self.seed, self.per_million) = (seed, per_million);
        self
    }

    /// The plan is for these places of another package, too. Those of this one are always in it.
    #[must_use]
    pub fn with<P: Place>(mut self, places: &[P]) -> Self {
        self.further.extend(places.iter().map(|place| (place.rule(), place.faults().len())));
        self
    }

    /// `fault` does not happen by chance at `site`.
    ///
    /// # Panics
    /// When `fault` is not in the site's table.
    #[must_use]
    pub fn sparing(mut self, site: impl Place, fault: Fault) -> Self {
        self.spared.push((site.rule(), number(site, fault)));
        self
    }

    /// Only calls of event loops are counted, and fail: those of threads with a name that begins with `linkpoll-`.
    #[must_use]
    pub fn in_loops(mut self) -> Self {
        self.loops_only = true;
        self
    }

    /// Puts the plan into force, instead of the one before.
    pub fn inject(self) -> Injected {
        // ORDERING: Relaxed, here and in all of this module: a call may see the old plan or the new one, and whoever
        // wants to be sure has made the loops rest.
        ACTIVE.store(false, Ordering::Relaxed);
        let own = Site::ALL.iter().map(|site| (site.rule(), site.faults().len()));
        let all: Vec<_> = own.chain(self.further).collect();
        for (number, &(rule, faults)) in (0..).zip(&all) {
            assert!(faults <= FAULTS, "a place with {faults} faults");
            let spared = self.spared.iter().filter(|(spared, _)| std::ptr::eq(*spared, rule));
            let by_chance = spared.fold((1_u64 << faults) - 1, |mask, (_, fault)| mask & !(1 << fault));
            // ORDERING: as above.
            rule.number.store(number, Ordering::Relaxed);
            rule.by_chance.store(by_chance, Ordering::Relaxed);
            rule.calls.store(0, Ordering::Relaxed);
            rule.fault.store(NONE, Ordering::Relaxed);
        }
        for &(rule, fault, from, until) in &self.rules {
            let is_known = all.iter().any(|(known, _)| std::ptr::eq(*known, rule));
            assert!(is_known, "a place of another package that the plan is not for: see `Plan::with`");
            // ORDERING: as above.
            rule.from.store(from, Ordering::Relaxed);
            rule.until.store(until, Ordering::Relaxed);
            rule.fault.store(fault, Ordering::Relaxed);
        }
        // ORDERING: as above.
        SEED.store(self.seed, Ordering::Relaxed);
        CHANCE.store(self.per_million, Ordering::Relaxed);
        LOOPS_ONLY.store(self.loops_only, Ordering::Relaxed);
        ACTIVE.store(true, Ordering::Relaxed);
        Injected(all)
    }
}

/// A plan in force. Dropping it ends it.
#[derive(Debug)]
#[must_use = "the plan ends when this is dropped"]
pub struct Injected(Vec<(&'static Rule, usize)>);

impl Injected {
    /// The calls at a site since the plan is in force.
    #[must_use]
    pub fn calls(&self, site: impl Place) -> u64 {
        // ORDERING: see `inject`.
        site.rule().calls.load(Ordering::Relaxed)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // ORDERING: see `inject`.
        ACTIVE.store(false, Ordering::Relaxed);
        // A place that the next plan is not for is at rest under it.
        for (rule, _) in &self.0 {
            // ORDERING: as above.
            rule.fault.store(NONE, Ordering::Relaxed);
            rule.by_chance.store(0, Ordering::Relaxed);
        }
    }
}

/// How often a fault has happened in this process.
///
/// # Panics
/// When `fault` is not in the site's table.
#[must_use]
pub fn executed(site: impl Place, fault: Fault) -> u64 {
    // ORDERING: see `inject`.
    site.rule().executed[number(site, fault)].load(Ordering::Relaxed)
}

fn number(site: impl Place, fault: Fault) -> usize {
    let place = site.faults().iter().position(|(it, _)| *it == fault);
    place.unwrap_or_else(|| panic!("{fault} is not known to happen at {site}"))
}

/// What is to happen to the call that is about to be made, and, if it is to be short, how many bytes it may move.
pub(super) fn decide(site: impl Place) -> Option<(Fault, usize)> {
    // ORDERING: see `inject`.
    if !ACTIVE.load(Ordering::Relaxed) || LOOPS_ONLY.load(Ordering::Relaxed) && !in_loop() {
        return None;
    }
    let rule = site.rule();
    let nth = rule.calls.fetch_add(1, Ordering::Relaxed);
    let (place, most) = rule.planned(nth).or_else(|| rule.chanced(nth))?;
    // ORDERING: see `inject`.
    rule.executed[place].fetch_add(1, Ordering::Relaxed);
    Some((site.faults()[place].0, most))
}

impl Rule {
    fn planned(&self, nth: u64) -> Option<(usize, usize)> {
        // ORDERING: see `inject`.
        let fault = self.fault.load(Ordering::Relaxed);
        let due = self.from.load(Ordering::Relaxed)..self.until.load(Ordering::Relaxed);
        (fault != NONE && due.contains(&nth)).then_some((fault, 1))
    }

    fn chanced(&self, nth: u64) -> Option<(usize, usize)> {
        // ORDERING: see `inject`.
        let (seed, chance) = (SEED.load(Ordering::Relaxed), CHANCE.load(Ordering::Relaxed));
        let possible = self.by_chance.load(Ordering::Relaxed);
        let number = self.number.load(Ordering::Relaxed);
        let mut random = Random(seed ^ Random(number + 1).next() ^ Random(!nth).next());
        if possible == 0 || random.next() % 1_000_000 >= chance {
            return None;
        }
        let choice = usize::try_from(random.next() % u64::from(possible.count_ones())).unwrap_or(0);
        let place = (0..FAULTS).filter(|place| possible & (1 << place) != 0).nth(choice)?;
        // From one byte to 8 KiB, each order of magnitude as likely as another.
        let scale = 1 << (random.next() % 14);
        let most = usize::try_from(1 + random.next() % scale).unwrap_or(1);
        Some((place, most))
    }
}

fn in_loop() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with("linkpoll-"))
}

/// SplitMix64 (Steele, Lea and Flood, 2014): good enough for chances, and a pure function of its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
