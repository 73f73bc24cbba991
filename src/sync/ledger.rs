//! The ordering ledger: which atomic sites a model reaches, and what happens when one of them is weaker.
//!
//! A *site* is a place in the source that performs an atomic operation, with its operation and ordering. Every
//! wrapped operation calls [`site`], which records the place and hands back the ordering to use: the written one,
//! or, where `LINKPOLL_MUTANT=<file>:<line>:<column>/<operation>=<Ordering>` names this very site, the weaker one.
//! `cargo ordering-mutants` runs the models once to learn their sites, then once more for each weakening.
//!
//! The ledger names orderings, and performs no atomic operation: there is no ORDERING comment to look for here.
//!
//! loom runs all threads of a model on one operating-system thread, so thread-local state belongs to one model.
#![expect(clippy::disallowed_types, reason = "the ledger stands outside of the models it watches")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::Location;
use std::sync::OnceLock;

use super::Ordering;

/// The kind of an atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Load,
    Store,
    Swap,
    FetchAdd,
    FetchSub,
    FetchOr,
    FetchAnd,
    FetchMax,
    ExchangeSuccess,
    ExchangeFailure,
    Fence,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Store => "store",
            Self::Swap => "swap",
            Self::FetchAdd => "fetch_add",
            Self::FetchSub => "fetch_sub",
            Self::FetchOr => "fetch_or",
            Self::FetchAnd => "fetch_and",
            Self::FetchMax => "fetch_max",
            Self::ExchangeSuccess => "compare_exchange.success",
            Self::ExchangeFailure => "compare_exchange.failure",
            Self::Fence => "fence",
        }
    }
}

struct Mutant {
    place: String,
    operation: String,
    order: Ordering,
}

type Site = (&'static str, u32, u32, Operation, &'static str);

thread_local! { static SITES: RefCell<BTreeSet<Site>> = const { RefCell::new(BTreeSet::new()) } }

fn recording() -> Option<&'static str> {
    static DIRECTORY: OnceLock<Option<String>> = OnceLock::new();
    DIRECTORY.get_or_init(|| std::env::var("LINKPOLL_LEDGER").ok()).as_deref()
}

fn mutant() -> Option<&'static Mutant> {
    static MUTANT: OnceLock<Option<Mutant>> = OnceLock::new();
    MUTANT
        .get_or_init(|| {
            let text = std::env::var("LINKPOLL_MUTANT").ok()?;
            let (site, order) = text.split_once('=')?;
            let (place, operation) = site.rsplit_once('/')?;
            let order = match order {
                "Relaxed" => Ordering::Relaxed,
                "Acquire" => Ordering::Acquire,
                "Release" => Ordering::Release,
                "AcqRel" => Ordering::AcqRel,
                other => panic!("LINKPOLL_MUTANT: no weaker ordering is called {other}"),
            };
            Some(Mutant { place: place.to_owned(), operation: operation.to_owned(), order })
        })
        .as_ref()
}

/// Whether this process runs with a weakened site.
pub(super) fn is_mutated() -> bool {
    mutant().is_some()
}

/// Notes a use of an ordering and answers the ordering to use.
pub(super) fn site(at: &'static Location<'static>, operation: Operation, order: Ordering) -> Ordering {
    if recording().is_some() {
        let name = match order {
            Ordering::Relaxed => "Relaxed",
            Ordering::Acquire => "Acquire",
            Ordering::Release => "Release",
            Ordering::AcqRel => "AcqRel",
            _ => "SeqCst",
        };
        SITES.with_borrow_mut(|sites| sites.insert((at.file(), at.line(), at.column(), operation, name)));
    }
    match mutant() {
        Some(mutant)
            if mutant.operation == operation.name()
                && mutant.place == format!("{}:{}:{}", at.file(), at.line(), at.column()) =>
        {
            mutant.order
        }
        _ => order,
    }
}

/// Forgets what was recorded: a model begins.
pub(super) fn begin() {
    SITES.with_borrow_mut(BTreeSet::clear);
}

/// Writes the sites that the model `name` has reached, if `LINKPOLL_LEDGER` names a directory.
pub(super) fn finish(name: &str) {
    let Some(directory) = recording() else { return };
    let path = std::path::Path::new(directory).join(format!("{name}.sites"));
    let mut file = std::fs::File::create(path).expect("the ledger directory is writable");
    SITES.with_borrow(|sites| {
        for (source, line, column, operation, order) in sites {
            writeln!(file, "{source}\t{line}\t{column}\t{}\t{order}", operation.name())
                .expect("the ledger is writable");
        }
    });
}
