//! Atomic sites and the ways to weaken them.

use std::fmt;
use std::str::FromStr;

use crate::step::Failure;

/// A memory ordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Order {
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    SeqCst,
}

impl Order {
    const ALL: [Self; 5] = [Self::Relaxed, Self::Acquire, Self::Release, Self::AcqRel, Self::SeqCst];
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Order {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|order| order.to_string() == text);
        found.ok_or_else(|| Failure(format!("no memory ordering is called {text}")))
    }
}

/// What an operation does, as far as it decides which orderings it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Load,
    Store,
    ReadModifyWrite,
    Fence,
}

impl Class {
    /// By the ledger's name of the operation. A compare-exchange is two: what it does on success reads and writes,
    /// what it does on failure only reads.
    fn of(operation: &str) -> Option<Self> {
        match operation {
            "load" | "compare_exchange.failure" | "compare_exchange_weak.failure" => Some(Self::Load),
            "store" => Some(Self::Store),
            "swap" | "compare_exchange.success" | "compare_exchange_weak.success" => {
                Some(Self::ReadModifyWrite)
            }
            "fence" => Some(Self::Fence),
            _ if operation.starts_with("fetch_") => Some(Self::ReadModifyWrite),
            _ => None,
        }
    }

    /// The legal orderings one step weaker. For a fence `Relaxed` means that it is gone.
    fn weaker(self, order: Order) -> &'static [Order] {
        match (self, order) {
            (_, Order::Relaxed) => &[],
            (_, Order::Acquire | Order::Release) => &[Order::Relaxed],
            (_, Order::AcqRel) => &[Order::Acquire, Order::Release],
            (Self::Load, Order::SeqCst) => &[Order::Acquire],
            (Self::Store, Order::SeqCst) => &[Order::Release],
            (Self::ReadModifyWrite | Self::Fence, Order::SeqCst) => &[Order::AcqRel],
        }
    }
}

/// One line of a model's ledger: a place in the source where an atomic operation was performed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Site {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) operation: String,
    pub(crate) order: Order,
}

impl Site {
    /// The weaker orderings to try here.
    pub(crate) fn weaker(&self) -> &'static [Order] {
        Class::of(&self.operation).map_or(&[], |class| class.weaker(self.order))
    }

    /// What `LINKPOLL_MUTANT` must say to give this site another ordering.
    pub(crate) fn armed(&self, order: Order) -> String {
        format!("{self}={order}")
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}/{}", self.file, self.line, self.column, self.operation)
    }
}

impl FromStr for Site {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let bad = || Failure(format!("not a line of a ledger: {line:?}"));
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, row, column, operation, order] = fields[..] else { return Err(bad()) };
        Class::of(operation).ok_or_else(bad)?;
        Ok(Self {
            file: file.to_owned(),
            line: row.parse().map_err(|_| bad())?,
            column: column.parse().map_err(|_| bad())?,
            operation: operation.to_owned(),
            order: order.parse()?,
        })
    }
}

/// A site as people name it, so that an entry about it survives edits elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) file: String,
    pub(crate) function: String,
    pub(crate) operation: String,
    /// Which of the operations of this kind in functions of this name in this file, counted from 1.
    pub(crate) ordinal: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} #{}", self.file, self.function, self.operation, self.ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(operation: &str, order: &str) -> Site {
        format!("src/a.rs\t12\t9\t{operation}\t{order}").parse().unwrap()
    }

    #[test]
    fn only_legal_orderings_one_step_weaker_are_tried() {
        use Order::{AcqRel, Acquire, Relaxed, Release};
        let cases: [(&str, &str, &[Order]); 10] = [
            ("load", "SeqCst", &[Acquire]),
            ("load", "Acquire", &[Relaxed]),
            ("store", "SeqCst", &[Release]),
            ("store", "Release", &[Relaxed]),
            ("fetch_sub", "AcqRel", &[Acquire, Release]),
            ("swap", "SeqCst", &[AcqRel]),
            ("compare_exchange.failure", "SeqCst", &[Acquire]),
            ("compare_exchange_weak.success", "AcqRel", &[Acquire, Release]),
            ("fence", "SeqCst", &[AcqRel]),
            ("fence", "Release", &[Relaxed]),
        ];
        for (operation, order, expected) in cases {
            assert_eq!(site(operation, order).weaker(), expected, "{operation} {order}");
        }
        assert!(site("swap", "Relaxed").weaker().is_empty());
    }

    #[test]
    fn a_site_is_armed_by_its_place() {
        assert_eq!(site("fence", "SeqCst").armed(Order::AcqRel), "src/a.rs:12:9/fence=AcqRel");
    }

    #[test]
    fn a_ledger_that_makes_no_sense_is_refused() {
        for line in [
            "",
            "src/a.rs\t1\t1\tload",
            "src/a.rs\tx\t1\tload\tRelaxed",
            "a\t1\t1\tload\tStrong",
            "a\t1\t1\tjump\tRelaxed",
        ] {
            assert!(line.parse::<Site>().is_err(), "{line}");
        }
    }
}
