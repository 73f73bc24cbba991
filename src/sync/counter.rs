//! Counters with one writer and any number of readers, and tables of them.

use super::{AtomicU64, Ordering};

/// A counter that one thread increments and any thread reads.
///
/// An increment is a load and a store, not a read-modify-write: with a single writer nothing can come between.
/// A reader sees a value the counter had; two counters are not read at the same instant.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Default for Counter {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Counter {
    /// Adds `n`. To be called by the one writer only; a second writer would lose counts, but not memory safety.
    #[inline]
    pub fn add(&self, n: u64) {
        // ORDERING: Relaxed, no partner: the value is all there is to see.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Subtracts `n`, for counters that are gauges. The same rule as for [`add`](Self::add).
    #[inline]
    pub fn sub(&self, n: u64) {
        // ORDERING: Relaxed, as in `add`.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Sets the value, for gauges that are measured elsewhere. The same rule as for [`add`](Self::add).
    #[inline]
    pub fn set(&self, n: u64) {
        // ORDERING: Relaxed, as in `add`.
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value at some recent moment.
    #[must_use]
    pub fn get(&self) -> u64 {
        // ORDERING: Relaxed, as in `add`.
        self.0.load(Ordering::Relaxed)
    }
}

/// Defines a table of [`Counter`]s, which is a table of plain numbers when its parameter is `u64`: its values at one
/// time. A table may have gauges in it (behind `=`), which are set and not counted, and other tables (behind `:`), which
/// have the same methods.
macro_rules! counters {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$counter_doc:meta])* pub $counter:ident,)*
            $(= $(#[$gauge_doc:meta])* pub $gauge:ident,)*
            $(: $(#[$table_doc:meta])* pub $table:ident: $kind:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<C = $crate::sync::Counter> {
            $($(#[$counter_doc])* pub $counter: C,)*
            $($(#[$gauge_doc])* pub $gauge: C,)*
            $($(#[$table_doc])* pub $table: $kind<C>,)*
        }

        impl $name {
            /// The values now. They are read one after another, not at the same instant.
            #[must_use]
            pub fn snapshot(&self) -> $name<u64> {
                $name {
                    $($counter: self.$counter.get(),)*
                    $($gauge: self.$gauge.get(),)*
                    $($table: self.$table.snapshot(),)*
                }
            }
        }

        impl $name<u64> {
            /// What was counted after an earlier snapshot of the same counters. What is measured, not counted, is as
            /// it is.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self {
                    $($counter: self.$counter.saturating_sub(earlier.$counter),)*
                    $($gauge: self.$gauge,)*
                    $($table: self.$table.since(&earlier.$table),)*
                }
            }
        }

        /// What several have counted together.
        impl std::ops::Add for $name<u64> {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self {
                    $($counter: self.$counter + other.$counter,)*
                    $($gauge: self.$gauge + other.$gauge,)*
                    $($table: self.$table + other.$table,)*
                }
            }
        }

        impl std::iter::Sum for $name<u64> {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::default(), std::ops::Add::add)
            }
        }

        /// One line of names and values, such as `opened 3, received 96`. What is zero is left out.
        impl std::fmt::Display for $name<u64> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                #[allow(unused_mut, reason = "a table may have no other in it")]
                let mut parts: Vec<String> = [
                    $((stringify!($counter), self.$counter),)*
                    $((stringify!($gauge), self.$gauge),)*
                ]
                    .into_iter()
                    .filter(|(_, value)| *value > 0)
                    .map(|(name, value)| format!("{} {value}", name.replace('_', " ")))
                    .collect();
                $(
                    let table = self.$table.to_string();
                    parts.extend((!table.is_empty()).then(|| {
                        format!("{} ({table})", stringify!($table).replace('_', " "))
                    }));
                )*
                f.write_str(&parts.join(", "))
            }
        }
    };
}

pub(crate) use counters;
