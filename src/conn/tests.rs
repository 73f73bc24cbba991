//! The automaton against every order of events: what it answers agrees with the tables of its documentation.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Act, Arrival, Automaton, Hold, Marks, Phase};

/// Something that happens to a connection. Events that cannot happen in a phase are left out when they are played.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Received,
    Ended,
    /// The handler writes so many bytes.
    Queued(usize),
    /// The driver sends a part, in 255ths, of what is unsent.
    Sent(u8),
    /// The application, or the loop's budget, holds receiving; or does so no longer.
    Hold(Hold),
    Release(Hold),
    /// A call leaves so many bytes unread, and wants more or not.
    Left(usize, bool),
    /// Another handler takes over, and reads on or not.
    Renew(bool),
    /// Our direction is to end.
    ShutDown,
    Finish,
    Close,
    Closed,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{Close, Closed, Ended, Finish, Left, Queued, Received, Release, Renew, Sent, ShutDown};
    let other = || prop_oneof![Just(Hold::Pause), Just(Hold::Memory)];
    prop_oneof![
        2 => other().prop_map(Happening::Hold),
        2 => other().prop_map(Release),
        3 => (prop_oneof![0..=20_usize, 0..=500_usize], any::<bool>()).prop_map(|(n, more)| Left(n, more)),
        1 => any::<bool>().prop_map(Renew),
        1 => Just(ShutDown),
        4 => Just(Received),
        1 => Just(Ended),
        6 => prop_oneof![0..=20_usize, 0..=2000_usize].prop_map(Queued),
        8 => any::<u8>().prop_map(Sent),
        1 => Just(Finish),
        1 => Just(Close),
        1 => Just(Closed),
    ]
}

/// What the documentation says, kept apart from the automaton.
#[derive(Debug)]
struct Expected {
    marks: Marks,
    reads_on: bool,
    phase: Phase,
    unsent: usize,
    congested: bool,
    paused: bool,
    memory: bool,
    unread: bool,
    receiving: bool,
    eof: bool,
    eof_told: u32,
    reliefs_due: u32,
    closes: u32,
    shut: bool,
    shutdowns: u32,
    kept: usize,
}

impl Expected {
    fn new(marks: Marks, reads_on: bool) -> Self {
        Self {
            marks,
            reads_on,
            phase: Phase::Open,
            unsent: 0,
            congested: false,
            paused: false,
            memory: false,
            unread: false,
            receiving: true,
            eof: false,
            eof_told: 0,
            reliefs_due: 0,
            closes: 0,
            shut: false,
            shutdowns: 0,
            kept: 0,
        }
    }

    /// Plays an event on the automaton and on the expectation; none when it cannot happen now.
    fn play(&mut self, automaton: &mut Automaton, happening: Happening) -> Option<Act> {
        let traffic = matches!(self.phase, Phase::Open | Phase::Flushing | Phase::Lingering);
        let act = match happening {
            Happening::Received if traffic && !self.eof => {
                self.arrive(automaton.received());
                Act::default()
            }
            Happening::Ended if traffic && !self.eof => {
                self.eof = true;
                automaton.ended()
            }
            Happening::Queued(n) if self.phase == Phase::Open && !self.shut => {
                self.unsent += n;
                let free = self.is_free();
                self.congested |= self.unsent > self.marks.high;
                for taken in [0, n / 2, n] {
                    let (mut one, mut other) = (automaton.clone(), automaton.clone());
                    let first = one.queued(n);
                    let second = one.sent(taken);
                    let act = Act { receive: second.receive.or(first.receive), ..second };
                    assert_eq!(other.passed(n, taken), act, "in one step as in two");
                    assert_eq!(format!("{one:?}"), format!("{other:?}"));
                    if taken == n && automaton.is_through(n) {
                        assert!(act.is_nothing(), "nothing is to be done");
                        assert_eq!(format!("{one:?}"), format!("{automaton:?}"), "and nothing changes");
                    }
                }
                let act = automaton.queued(n);
                assert_eq!(act.receive, (free && !self.is_free()).then_some(false), "congestion begins");
                act
            }
            Happening::Sent(part) if matches!(self.phase, Phase::Open | Phase::Flushing) => {
                let n = self.unsent * usize::from(part) / 255;
                self.unsent -= n;
                if self.congested && self.unsent <= self.marks.low {
                    self.congested = false;
                    self.reliefs_due = u32::from(self.phase == Phase::Open);
                }
                automaton.sent(n)
            }
            Happening::Hold(by) => {
                *self.held(by) = true;
                automaton.hold(by)
            }
            Happening::Release(by) => {
                let free = self.is_free();
                let was = std::mem::take(self.held(by));
                let act = automaton.release(by);
                let open = self.phase == Phase::Open;
                assert_eq!(act.receive, (was && open && !free && self.is_free()).then_some(true));
                act
            }
            Happening::Left(unread, more) if self.phase == Phase::Open => {
                let free = self.is_free();
                self.unread = !more && unread > if self.unread { self.marks.low } else { self.marks.high };
                let act = automaton.left(unread, more, self.marks);
                let changed = (free != self.is_free()).then_some(!free);
                assert_eq!((act.receive, act.close), (changed, false), "unread bytes hold, or let go");
                act
            }
            Happening::Renew(reads_on) if self.phase == Phase::Open => {
                (self.eof_told, self.reliefs_due) = (0, 0);
                let free = self.is_free();
                self.reads_on = reads_on;
                let act = automaton.renew(reads_on);
                let changed = (free != self.is_free()).then_some(!free);
                assert_eq!(
                    (act.receive, act.call),
                    (changed, false),
                    "the new handler's way of reading holds"
                );
                Act { call: automaton.may_call(), ..act }
            }
            Happening::ShutDown => automaton.shut_down(),
            Happening::Finish => automaton.finish(),
            Happening::Close => automaton.close(),
            Happening::Closed if self.phase == Phase::Closing => {
                automaton.closed();
                Act::default()
            }
            _ => return None,
        };
        Some(act)
    }

    fn held(&mut self, by: Hold) -> &mut bool {
        match by {
            Hold::Congestion => &mut self.congested,
            Hold::Pause => &mut self.paused,
            Hold::Memory => &mut self.memory,
            Hold::Unread => &mut self.unread,
        }
    }

    fn is_free(&self) -> bool {
        (self.reads_on || !self.congested) && !self.paused && !self.memory && !self.unread
    }

    fn arrive(&mut self, arrival: Arrival) {
        let silent = (self.congested && !self.reads_on) || self.paused || self.reliefs_due > 0;
        let expected = match (self.phase, silent) {
            (Phase::Open, true) => Arrival::Keep,
            (Phase::Open, false) => Arrival::Handle,
            _ => Arrival::Discard,
        };
        assert_eq!(arrival, expected);
        self.kept += usize::from(arrival == Arrival::Keep);
    }

    /// Checks an answer, and carries it out as the reactor does.
    fn carry_out(&mut self, automaton: &mut Automaton, act: Act) {
        let before = std::mem::replace(&mut self.phase, automaton.phase());
        assert!(order(before) <= order(self.phase), "{before:?} -> {:?}", self.phase);
        self.receiving = act.receive.unwrap_or(self.receiving);
        self.closes += u32::from(act.close);
        self.shutdowns += u32::from(act.shutdown);
        assert_eq!(
            act.close,
            self.phase == Phase::Closing && before != Phase::Closing,
            "closes when it says so"
        );
        let lingers = self.phase == Phase::Lingering && before != Phase::Lingering;
        let shut = self.phase == Phase::Open && automaton.is_shut() && !self.shut;
        assert_eq!(act.shutdown, shut || (lingers && !self.shut), "our direction ends once");
        self.shut |= shut | lingers;
        assert_eq!(act.linger, lingers, "the time to linger starts with the end of sending");
        if lingers {
            assert!(self.unsent == 0 && !self.eof, "the sending direction ends behind everything");
        }
        if act.call {
            assert!(automaton.may_call() || self.reliefs_due > 0, "a call that may not be made");
            self.call(automaton);
        }
    }

    /// The calls that the reactor makes when it is told to.
    fn call(&mut self, automaton: &mut Automaton) {
        let relieved = automaton.take_relief();
        assert_eq!(
            u32::from(relieved),
            std::mem::take(&mut self.reliefs_due),
            "told once that it may write again"
        );
        if automaton.take_owed() {
            assert!(automaton.may_call());
            self.kept = 0;
        }
        if automaton.take_eof() {
            self.eof_told += 1;
            assert!(self.eof && self.kept == 0, "the end was told before bytes that came before it");
        }
    }

    fn check(&self, automaton: &Automaton) {
        assert_eq!(automaton.unsent(), self.unsent);
        assert!(self.eof_told <= 1 && self.closes <= 1 && self.shutdowns <= 1, "{self:?}");
        let open = self.phase == Phase::Open;
        assert_eq!(automaton.may_call(), open && (self.reads_on || !self.congested) && !self.paused);
        match self.phase {
            Phase::Open => {
                assert_eq!(self.receiving, self.is_free(), "open: received from unless held");
            }
            Phase::Flushing => assert!(!self.receiving && self.unsent > 0, "flushing: what is left is sent"),
            Phase::Lingering => {
                assert!(self.receiving && self.unsent == 0, "lingering: only the end is missing");
            }
            Phase::Closing | Phase::Closed => assert_eq!(self.closes, 1),
        }
    }
}

fn order(phase: Phase) -> u8 {
    match phase {
        Phase::Open => 0,
        Phase::Flushing => 1,
        Phase::Lingering => 2,
        Phase::Closing => 3,
        Phase::Closed => 4,
    }
}

mod prop {
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    /// What has failed once is tried first.
    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/conn_automaton.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        /// Phases only go forward, receiving is on just when it should be, the end is told at most once and behind
        /// all bytes, and a connection is closed exactly once.
        #[test]
        fn every_order_of_events_is_answered_as_documented(
            low in 0..200_usize,
            above in 0..200_usize,
            reads_on in any::<bool>(),
            happenings in vec(happening(), 0..60),
        ) {
            let marks = Marks { low, high: low + above };
            let mut automaton = Automaton::new(marks, reads_on);
            let mut expected = Expected::new(marks, reads_on);
            for happening in happenings {
                if let Some(act) = expected.play(&mut automaton, happening) {
                    expected.carry_out(&mut automaton, act);
                }
                expected.check(&automaton);
            }
        }

        /// A connection whose peer reads and ends gets to its end, whatever has happened before.
        #[test]
        fn a_connection_that_finishes_is_closed(
            reads_on in any::<bool>(),
            happenings in vec(happening(), 0..40),
        ) {
            let marks = Marks { low: 64, high: 256 };
            let mut automaton = Automaton::new(marks, reads_on);
            let mut expected = Expected::new(marks, reads_on);
            let ending = [Happening::Finish, Happening::Sent(255), Happening::Ended, Happening::Closed];
            for happening in happenings.into_iter().chain(ending) {
                if let Some(act) = expected.play(&mut automaton, happening) {
                    expected.carry_out(&mut automaton, act);
                }
            }
            prop_assert_eq!(automaton.phase(), Phase::Closed);
        }
    }
}

/// After the end nothing is answered any more.
#[test]
fn a_closed_connection_does_nothing() {
    let mut automaton = Automaton::new(Marks::default(), false);
    assert!(automaton.close().close);
    automaton.closed();
    assert_eq!(automaton.close(), Act::default());
    assert_eq!(automaton.finish(), Act::default());
    assert_eq!(automaton.ended(), Act::default());
    assert_eq!(automaton.received(), Arrival::Discard);
    assert!(!automaton.take_relief() && !automaton.take_eof() && !automaton.may_call());
}

/// The end that is seen during a congestion is told when it is over, after the bytes that came meanwhile.
#[test]
fn an_end_during_a_congestion_is_told_after_it() {
    let mut automaton = Automaton::new(Marks { low: 1, high: 10 }, false);
    assert_eq!(automaton.queued(11).receive, Some(false));
    assert_eq!(automaton.received(), Arrival::Keep);
    assert_eq!(automaton.ended(), Act::default());
    assert!(!automaton.take_eof());
    let act = automaton.sent(10);
    assert!(act.call && act.receive == Some(true));
    assert!(!automaton.take_owed() && !automaton.take_eof(), "relief first");
    assert!(automaton.take_relief() && !automaton.take_eof(), "then what came meanwhile");
    assert!(automaton.take_owed() && automaton.take_eof() && !automaton.take_eof());
}
