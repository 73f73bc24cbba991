//! The conformance suite on the epoll driver, and the suite's own test: drivers that are broken in one way each.

use std::collections::BTreeSet;

use linkpoll::driver::Side;
use linkpoll::driver::epoll::Trigger;
use linkpoll_conformance::broken::{BrokenBed, FAULTS, is_caught, missed};
use linkpoll_conformance::{BatchedBed, BothBed, EpollBed, NicBed, cases, isolated, listen};

/// The budget that the driver has by default.
const BUDGET: usize = 256 << 10;
/// A budget that any receive uses up, so that each turn leaves something behind.
const LITTLE: usize = 1;

mod level {
    linkpoll_conformance::conformance!(super::EpollBed {
        trigger: super::Trigger::Level,
        receive_budget: super::BUDGET,
    });
}

mod level_with_little_budget {
    linkpoll_conformance::conformance!(super::EpollBed {
        trigger: super::Trigger::Level,
        receive_budget: super::LITTLE,
    });
}

mod edge {
    linkpoll_conformance::conformance!(super::EpollBed {
        trigger: super::Trigger::Edge,
        receive_budget: super::BUDGET,
    });
}

mod edge_with_little_budget {
    linkpoll_conformance::conformance!(super::EpollBed {
        trigger: super::Trigger::Edge,
        receive_budget: super::LITTLE,
    });
}

mod batched {
    const EPOLL: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET };
    linkpoll_conformance::conformance!(super::BatchedBed { epoll: EPOLL, batch: 64 });
}

mod batched_by_few_at_the_edge {
    const EPOLL: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Edge, receive_budget: super::LITTLE };
    linkpoll_conformance::conformance!(super::BatchedBed { epoll: EPOLL, batch: 2 });
}

/// Two drivers as one, with the connections on either side.
mod both_first {
    const EACH: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET };
    linkpoll_conformance::conformance!(super::BothBed {
        first: EACH,
        second: EACH,
        side: super::Side::First
    });
}

mod both_second_at_the_edge {
    const FIRST: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET };
    const SECOND: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Edge, receive_budget: super::LITTLE };
    linkpoll_conformance::conformance!(super::BothBed {
        first: FIRST,
        second: SECOND,
        side: super::Side::Second,
    });
}

/// Both of both: it is a driver like any other, also to itself.
mod both_nested {
    const EACH: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET };
    const INNER: super::BothBed<super::EpollBed, super::BatchedBed> = super::BothBed {
        first: EACH,
        second: super::BatchedBed { epoll: EACH, batch: 64 },
        side: super::Side::Second,
    };
    linkpoll_conformance::conformance!(super::BothBed {
        first: EACH,
        second: INNER,
        side: super::Side::Second,
    });
}

/// A card that bypasses the kernel, alone and beside epoll.
mod card {
    pub(super) const NETWORK: super::BatchedBed = super::BatchedBed {
        epoll: super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET },
        batch: 64,
    };
    linkpoll_conformance::conformance!(super::NicBed(NETWORK));
}

mod both_with_a_card {
    const FIRST: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET };
    linkpoll_conformance::conformance!(super::BothBed {
        first: FIRST,
        second: super::NicBed(super::card::NETWORK),
        side: super::Side::Second,
    });
}

mod both_beside_a_card {
    const SECOND: super::EpollBed =
        super::EpollBed { trigger: super::Trigger::Level, receive_budget: super::BUDGET };
    linkpoll_conformance::conformance!(super::BothBed {
        first: super::NicBed(super::card::NETWORK),
        second: SECOND,
        side: super::Side::Second,
    });
}

/// The case that changes a limit of the whole process.
const OF_A_PROCESS: &str = "accepting_goes_on_after_descriptors_ran_out";

/// The sound drivers that faults are put into.
const SOUND: EpollBed = EpollBed { trigger: Trigger::Level, receive_budget: BUDGET };

/// Every fault is noticed by the cases that are there to notice it.
#[test]
fn every_broken_driver_is_caught() {
    let missed = missed(SOUND);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Faults in accepting when descriptors run out are noticed, too.
#[test]
fn every_broken_listener_is_caught() {
    isolated(module_path!(), "every_broken_listener_is_caught", || {
        for &(fault, names) in FAULTS.iter().filter(|(_, names)| names.contains(&OF_A_PROCESS)) {
            let bed = BrokenBed { sound: SOUND, fault };
            let run = listen::accepting_goes_on_after_descriptors_ran_out::<BrokenBed<EpollBed>>;
            assert!(is_caught(bed, run), "{fault:?} passes {names:?}");
        }
    });
}

/// No case is there for nothing: each is failed by some fault.
#[test]
fn every_case_catches_something() {
    let catching: BTreeSet<&str> = FAULTS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let idle: Vec<_> =
        cases::<EpollBed>().iter().map(|case| case.name).filter(|name| !catching.contains(name)).collect();
    assert!(idle.is_empty(), "cases that no broken driver is known to fail: {idle:?}");
}
