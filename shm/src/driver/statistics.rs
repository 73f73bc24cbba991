//! What drivers have done, in numbers, for people who ask.
//!
//! Each driver counts for itself, and shows its counts on a board of its own, which anybody may read: whoever asks one
//! loop of a server is told of all of them. A board is brought up to date before its driver asks epoll for anything, so
//! what a loop shows while it sleeps is what it has done.

use std::fmt;
use std::sync::OnceLock;

use linkpoll::sync::{Arc, Counter};

use crate::handshake::HandshakeError;
use crate::session::{Counters, SessionError};
use crate::violation::Violation;
use crate::wire::{ControlError, Refusal};

/// Drivers beyond so many are not counted together with the others.
const BOARDS: usize = 256;

/// What a driver has done so far.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Sessions that listeners have accepted.
    pub sessions_accepted: u64,
    /// Sessions that are open now.
    pub sessions_open: u64,
    /// Loans of open sessions that have not come back. In one driver's numbers it wraps around below 0 where a session has
    /// moved from another; the sum over a [group](StatisticsGroup) is right.
    pub loans_out: u64,
    /// Chunks of memory that the peers of open sessions have mapped, to be lent from.
    pub arenas_open: u64,
    /// Times that a loop with sessions began to look for news instead of sleeping.
    pub spins: u64,
    /// Those of them that found something.
    pub spins_that_paid: u64,
    /// Looks at active sessions, each without a system call.
    pub looks: u64,
    /// Those of them that found something.
    pub looks_that_paid: u64,
    /// Why handshakes came to nothing.
    pub handshakes: Handshakes,
    /// Why sessions have failed.
    pub errors: Errors,
    /// What all sessions have done together, also those that are closed.
    pub traffic: Counters,
}

/// A table of counts by name.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident: $($line:ident)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name([u64; [$(stringify!($line)),*].len()]);

        impl $name {
            const NAMES: &[&str] = &[$(stringify!($line)),*];

            /// Each count with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                Self::NAMES.iter().copied().zip(self.0)
            }

            /// All of them together.
            #[must_use]
            pub fn total(&self) -> u64 {
                self.0.iter().sum()
            }

            fn add(&mut self, name: &str) {
                if let Some(at) = Self::NAMES.iter().position(|known| *known == name) {
                    self.0[at] += 1;
                }
            }
        }
    };
}

table! {
    /// Handshakes that came to nothing, by who ended them and why. `refused_` is our word, `handshake_` the peer's doing.
    Handshakes:
    refused_frame refused_magic refused_version refused_role refused_policy refused_geometry refused_descriptors
    refused_seals refused_length refused_kind refused_nonce refused_order refused_resources refused_time refused_leaving
    refused_content refused_other handshake_refused_by_peer handshake_left_by_peer handshake_broken
}

table! {
    /// Sessions that have failed, by reason. `violation_` is something that no honest peer does.
    Errors:
    violation_tail violation_head violation_released violation_record_kind violation_record_length violation_after_end
    violation_ticket violation_loan violation_frame_out_of_place violation_frame violation_bulk violation_arena
    violation_long_message
    ended_by_peer peer_gone nobody_reads socket_broken socket_not_read no_descriptors forked
}

impl Handshakes {
    pub(super) fn count(&mut self, error: &HandshakeError) {
        self.add(match error {
            HandshakeError::Refused(_) => "handshake_refused_by_peer",
            HandshakeError::Closed(_) => "handshake_left_by_peer",
            HandshakeError::Control(ControlError::Io(_)) | HandshakeError::Over => "handshake_broken",
            error => error.refusal().map_or("refused_other", refused),
        });
    }

    /// This process has no descriptor or no memory for another session.
    pub(super) fn count_resources(&mut self) {
        self.add(refused(Refusal::Resources));
    }
}

fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Frame => "refused_frame",
        Refusal::Magic => "refused_magic",
        Refusal::Version => "refused_version",
        Refusal::Role => "refused_role",
        Refusal::Policy => "refused_policy",
        Refusal::Geometry => "refused_geometry",
        Refusal::Descriptors => "refused_descriptors",
        Refusal::Seals => "refused_seals",
        Refusal::Length => "refused_length",
        Refusal::Kind => "refused_kind",
        Refusal::Nonce => "refused_nonce",
        Refusal::Order => "refused_order",
        Refusal::Resources => "refused_resources",
        Refusal::Time => "refused_time",
        Refusal::Leaving => "refused_leaving",
        Refusal::Content => "refused_content",
        _ => "refused_other",
    }
}

impl Errors {
    pub(super) fn count(&mut self, error: &SessionError) {
        self.add(match error {
            SessionError::Violation(violation) => match violation {
                Violation::Tail => "violation_tail",
                Violation::Head => "violation_head",
                Violation::Released => "violation_released",
                Violation::Kind { .. } => "violation_record_kind",
                Violation::Length { .. } => "violation_record_length",
                Violation::AfterEnd => "violation_after_end",
                Violation::Ticket { .. } => "violation_ticket",
                Violation::Loan => "violation_loan",
            },
            SessionError::OutOfPlace => "violation_frame_out_of_place",
            SessionError::Control(ControlError::Frame(_)) => "violation_frame",
            SessionError::Control(ControlError::Io(_)) => "socket_broken",
            SessionError::Control(ControlError::NotRead) => "socket_not_read",
            SessionError::Control(ControlError::NoDescriptors) => "no_descriptors",
            SessionError::Bulk(_) => "violation_bulk",
            SessionError::LongMessage => "violation_long_message",
            SessionError::Arena(_) | SessionError::TooMuchMemory => "violation_arena",
            SessionError::Refused(_) => "ended_by_peer",
            SessionError::PeerGone => "peer_gone",
            SessionError::NobodyReads => "nobody_reads",
            SessionError::Forked => "forked",
        });
    }
}

impl Statistics {
    /// How many of the counts come before those of failures.
    fn doings(&self) -> usize {
        self.own().len() + self.traffic.named().len()
    }

    /// A session has given loans, or has come with some.
    #[inline]
    pub(super) fn hold(&mut self, traffic: &Counters) {
        let out = traffic.loans_given.wrapping_sub(traffic.loans_returned);
        self.loans_out = self.loans_out.wrapping_add(out);
        self.arenas_open = self.arenas_open.wrapping_add(traffic.arenas);
    }

    /// A session has gone, and all that was lent over it with it.
    pub(super) fn let_go(&mut self, traffic: &Counters) {
        let out = traffic.loans_given.wrapping_sub(traffic.loans_returned);
        self.loans_out = self.loans_out.wrapping_sub(out);
        self.arenas_open = self.arenas_open.wrapping_sub(traffic.arenas);
    }

    fn own(&self) -> [(&'static str, u64); 8] {
        [
            ("sessions_accepted", self.sessions_accepted),
            ("sessions_open", self.sessions_open),
            ("loans_out", self.loans_out),
            ("arenas_open", self.arenas_open),
            ("spins", self.spins),
            ("spins_that_paid", self.spins_that_paid),
            ("looks", self.looks),
            ("looks_that_paid", self.looks_that_paid),
        ]
    }

    /// Each count with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let ends = self.handshakes.named().chain(self.errors.named());
        self.own().into_iter().chain(self.traffic.named()).chain(ends)
    }
}

/// Lines of `name value`.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.named().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

/// Drivers that are counted together: those that are made with clones of the same options.
#[derive(Clone)]
pub struct StatisticsGroup(Arc<[OnceLock<Box<[Counter]>>; BOARDS]>);

/// The place of one driver.
#[derive(Debug)]
pub(super) struct Board {
    group: StatisticsGroup,
    at: Option<usize>,
    /// Failures shown.
    ends: u64,
}

impl Default for StatisticsGroup {
    fn default() -> Self {
        Self(Arc::new([const { OnceLock::new() }; BOARDS]))
    }
}

impl StatisticsGroup {
    /// A place for one more driver, if there is one.
    pub(super) fn join(&self) -> Board {
        let mut board = Some(Statistics::default().named().map(|_| Counter::default()).collect());
        let at = self.0.iter().position(|place| match board.take() {
            Some(own) => match place.set(own) {
                Ok(()) => true,
                Err(own) => {
                    board = Some(own);
                    false
                }
            },
            None => false,
        });
        Board { group: self.clone(), at, ends: 0 }
    }

    /// What all drivers have done together, each as of its last sleep or its last 64 turns: the number of drivers, and
    /// each count with its name. Any thread may ask.
    #[must_use]
    pub fn sum(&self) -> (usize, Vec<(&'static str, u64)>) {
        let boards: Vec<_> = self.0.iter().map_while(OnceLock::get).collect();
        let names = Statistics::default().named().map(|(name, _)| name).enumerate();
        let sum = |at: usize| boards.iter().fold(0_u64, |sum, board| sum.wrapping_add(board[at].get()));
        (boards.len(), names.map(|(at, name)| (name, sum(at))).collect())
    }
}

impl Board {
    /// Shows what its driver has done by now.
    pub(super) fn show(&mut self, statistics: &Statistics) {
        let Some(board) = self.at.and_then(|at| self.group.0[at].get()) else { return };
        let ends = statistics.handshakes.total() + statistics.errors.total();
        // Ends come last, and seldom.
        let news =
            if std::mem::replace(&mut self.ends, ends) == ends { statistics.doings() } else { board.len() };
        board.iter().zip(statistics.named()).take(news).for_each(|(place, (_, value))| place.set(value));
    }
}

/// Lines of `name value`.
impl fmt::Display for StatisticsGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loops, sums) = self.sum();
        writeln!(f, "loops {loops}")?;
        sums.into_iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

impl fmt::Debug for StatisticsGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatisticsGroup").field(&self.sum()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::Step;
    use crate::wire::frame::MOST_BODY;

    #[test]
    fn whoever_asks_one_is_told_of_all() {
        let group = StatisticsGroup::default();
        let (mut first, mut second) = (group.clone().join(), group.join());
        first.show(&Statistics { sessions_open: 2, ..Statistics::default() });
        let mut other = Statistics { sessions_open: 3, ..Statistics::default() };
        other.errors.count(&SessionError::PeerGone);
        second.show(&other);
        second.show(&other);
        let text = group.to_string();
        for line in ["loops 2", "sessions_open 5", "peer_gone 1", "violation_tail 0"] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        drop(first);
        assert!(group.to_string().contains("sessions_open 5\n"), "what a driver has done outlives it");
    }

    #[test]
    fn a_group_that_is_full_counts_those_in_it() {
        let group = StatisticsGroup::default();
        let mut boards: Vec<_> = (0..=BOARDS).map(|_| group.join()).collect();
        boards.iter_mut().for_each(|board| board.show(&Statistics { looks: 1, ..Statistics::default() }));
        assert!(group.to_string().contains("\nlooks 256\n"));
    }

    #[test]
    fn every_end_has_a_line_of_its_own() {
        let violations = [
            Violation::Tail,
            Violation::Head,
            Violation::Released,
            Violation::Kind { found: 9 },
            Violation::Length { found: 9 },
            Violation::AfterEnd,
            Violation::Ticket { found: 9 },
            Violation::Loan,
        ];
        let mut errors = Errors::default();
        violations.into_iter().for_each(|violation| errors.count(&violation.into()));
        errors.count(&SessionError::OutOfPlace);
        errors.count(&SessionError::NobodyReads);
        assert_eq!((errors.total(), errors.named().filter(|(_, count)| *count == 1).count()), (10, 10));

        let mut handshakes = Handshakes::default();
        for refusal in Refusal::ALL.iter().filter(|refusal| **refusal != Refusal::Violation) {
            handshakes.count(&HandshakeError::Rejected(*refusal));
        }
        handshakes.count(&HandshakeError::TimedOut(Step::Setup));
        handshakes.count(&HandshakeError::Closed(Step::Hello));
        let of = |name: &str| handshakes.named().find(|(known, _)| *known == name).map(|(_, count)| count);
        assert_eq!(
            (of("refused_time"), of("refused_policy"), of("refused_other")),
            (Some(2), Some(1), Some(0))
        );
        assert_eq!(handshakes.total(), Refusal::ALL.len() as u64 + 1);
    }

    #[test]
    fn all_of_it_fits_into_a_frame() {
        let (_, sums) = StatisticsGroup::default().sum();
        let longest: usize =
            sums.iter().map(|(name, _)| name.len() + 1 + u64::MAX.to_string().len() + 1).sum();
        assert!(longest + "loops 256\n".len() <= MOST_BODY, "{longest}");
    }
}
