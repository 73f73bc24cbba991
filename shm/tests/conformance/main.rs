//! The conformance suite on drivers of shared memory: with either doorbell, with rings so small that everything waits for
//! room, and beside epoll in one driver.

mod bed;
mod moving;
mod peer;

use bed::ShmBed;
use linkpoll::driver::Side;
use linkpoll::driver::epoll::Trigger;
use linkpoll_conformance::{BothBed, EpollBed};
use linkpoll_shm::handshake::Doorbell;

const USUAL: ShmBed = ShmBed { ring: 64 << 10, doorbell: Doorbell::Socket, receive_budget: 256 << 10 };
const EPOLL: EpollBed = EpollBed { trigger: Trigger::Level, receive_budget: 256 << 10 };

/// The suite, on a bed that has neither ports nor descriptors for sessions.
macro_rules! conformance {
    ($bed:expr) => {
        linkpoll_conformance::conformance!(
            $bed,
            without: [
                urgent_bytes_hide_no_others,
                descriptors_go_in_and_come_out,
                connecting_from_a_local_address_works,
                port_zero_becomes_a_real_port,
            ]
        );
    };
}

mod usual {
    conformance!(super::USUAL);
}

mod event_fd {
    conformance!(super::ShmBed { doorbell: super::Doorbell::EventFd, ..super::USUAL });
}

/// Everything waits for room, and a turn receives no more than the longest record has.
mod tiny {
    conformance!(super::ShmBed { ring: 4 << 10, receive_budget: 1, ..super::USUAL });
}

mod tiny_with_event_fd {
    conformance!(super::ShmBed { ring: 4 << 10, receive_budget: 1, doorbell: super::Doorbell::EventFd });
}

/// Beside sessions, sockets are what they are alone.
mod both_first {
    linkpoll_conformance::conformance!(super::BothBed {
        first: super::EPOLL,
        second: super::USUAL,
        side: super::Side::First,
    });
}

/// Beside sockets, so are sessions. Descriptors become sockets.
mod both_second {
    linkpoll_conformance::conformance!(
        super::BothBed { first: super::EPOLL, second: super::USUAL, side: super::Side::Second },
        without: [
            urgent_bytes_hide_no_others,
            connecting_from_a_local_address_works,
            port_zero_becomes_a_real_port,
        ]
    );
}

/// The suite notices with sessions what it notices with sockets.
#[test]
fn every_broken_driver_of_sessions_is_caught() {
    let mut missed = linkpoll_conformance::broken::missed(USUAL);
    // KERNEL: connect(2) to a path is refused at once: there is no event to swallow.
    missed.retain(|it| it != "SwallowsErrors passes a_refused_connection_is_an_error");
    // A driver may leave it at that: what is not taken in place cannot be forgotten.
    missed.retain(|it| it != "ForgetsBytesInPlace passes bytes_sent_from_where_they_are_arrive_in_order");
    // KERNEL: a ring is empty whenever the peer's thread has not had a processor since the last look, and nobody can be
    // favoured then. With sockets, whose buffers are larger, the suite must notice.
    missed.retain(|it| it != "PlaysFavourites passes a_busy_connection_leaves_room_for_others");
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
