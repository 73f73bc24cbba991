//! The suite that every driver passes: one case for each clause of the contract in `linkpoll::driver`.
//!
//! * A [`Bed`] makes drivers of one kind, and the other ends of their connections: any [`Peer`]. For drivers over sockets
//!   of the system a [`SocketBed`] is enough, which makes drivers alone. [`conformance!`] turns a bed into tests.
//! * A [`Rig`] holds one driver, and audits every event against what the contract forbids at any time: bytes after
//!   the end, more `Sent` than was given, a second `Closed`. A case adds what must happen.
//! * What not every transport has is an [`Ability`]. A case that is about one is left out where the bed has not got it, in a
//!   list that the user of the suite writes down, and that a test compares; and the driver must refuse what it has not.
//! * [`broken`] tests the suite: drivers with one fault each, and the cases that must notice it.
//!
//! Nothing waits for ever: a driver that does not do what it must is given up after the bed's patience.

mod ability;
mod bed;
pub mod broken;
mod ends;
mod isolated;
pub mod life;
pub mod listen;
pub mod memory;
mod nic;
mod pattern;
mod place;
pub mod receive;
mod rig;
pub mod send;
mod socket;
pub mod wake;

pub use ability::{Ability, Case};
pub use bed::{Batched, BatchedBed, Bed, BothBed, BothPeer, EpollBed, SocketBed};
pub use ends::{Dialled, Dialling, Listening, Peer};
pub use isolated::isolated;
pub use nic::{BUFFER, FakeNic, NicBed};
pub use pattern::pattern;
pub use place::{FAMILIES, Family, Place};
pub use rig::{Log, Rig};
pub use socket::SocketPeer;

/// What a case is about, if not every transport has it.
macro_rules! needs {
    () => {
        None
    };
    ($ability:ident) => {
        Some(Ability::$ability)
    };
}

macro_rules! suite {
    ($d:tt $($module:ident { $($case:ident $(($ability:ident))?),+ $(,)? })+) => {
        /// All cases but the one that changes a limit of the process, which needs a process of its own.
        #[must_use]
        pub fn cases<B: Bed>() -> Vec<Case<B>> {
            vec![$($(Case { name: stringify!($case), needs: needs!($($ability)?), run: $module::$case::<B> },)+)+]
        }

        /// A test for each case, on the drivers of a bed. To be used in a module of its own.
        ///
        /// Cases that the bed leaves out for want of an [`Ability`] are named, in the suite's order:
        /// `conformance!(bed, without: [urgent_bytes_hide_no_others])`. A test fails when it leaves out others.
        #[macro_export]
        macro_rules! conformance {
            ($d bed:expr) => {
                $d crate::conformance!($d bed, without: []);
            };
            ($d bed:expr, without: [$d ($d left_out:ident),* $d (,)?]) => {
                $($(
                    #[test]
                    fn $case() {
                        $d crate::check(&$d bed, stringify!($case));
                    }
                )+)+

                #[test]
                fn accepting_goes_on_after_descriptors_ran_out() {
                    $d crate::isolated(module_path!(), "accepting_goes_on_after_descriptors_ran_out", || {
                        $d crate::listen::accepting_goes_on_after_descriptors_ran_out(&$d bed);
                    });
                }

                #[test]
                fn no_other_cases_are_left_out() {
                    let named: &[&str] = &[$d (stringify!($d left_out)),*];
                    assert_eq!($d crate::left_out(&$d bed), named, "cases that this transport cannot have");
                }
            };
        }
    };
}

/// Runs the case of this name, or shows that it is about something that the transport has not.
///
/// # Panics
/// When the driver does not conform, or there is no such case.
pub fn check<B: Bed>(bed: &B, name: &str) {
    cases().iter().find(|case| case.name == name).expect("a case of the suite").check(bed);
}

/// The names of the cases that a bed leaves out, for want of what they are about.
#[must_use]
pub fn left_out<B: Bed>(bed: &B) -> Vec<&'static str> {
    cases().iter().filter(|case: &&Case<B>| !case.applies(bed)).map(|case| case.name).collect()
}

suite! { $
    receive {
        bytes_arrive_in_order_and_whole,
        bytes_come_before_the_end,
        the_end_is_found_behind_more_than_one_turn_takes,
        the_end_is_found_after_a_pause_within_a_turn,
        the_end_is_told_once,
        a_pause_loses_nothing,
        nothing_is_received_during_a_pause,
        a_pause_does_not_spin_when_the_peer_is_gone,
        bytes_from_before_a_hangup_survive_a_pause,
        an_ended_connection_does_not_spin,
        a_wanted_message_comes_in_one_block,
        a_wrong_hint_loses_nothing,
        urgent_bytes_hide_no_others(UrgentBytes),
        a_reset_is_an_error,
        a_busy_connection_leaves_room_for_others,
    }
    send {
        sent_bytes_add_up,
        bytes_sent_from_where_they_are_arrive_in_order,
        any_number_of_pieces_arrives_in_order,
        a_slow_reader_gets_everything_in_order,
        room_is_not_waited_for_while_there_is_some,
        sending_goes_on_after_the_peer_has_ended,
        shutdown_comes_after_unsent_bytes,
        receiving_goes_on_after_shutdown,
        memory_is_released_once_when_it_was_sent,
        memory_is_released_when_there_is_nothing_to_send,
        memory_is_released_by_close,
        memory_is_released_by_detach,
        memory_is_released_by_an_error,
        sending_to_a_peer_that_is_gone_fails,
        sending_fails_when_the_peer_goes_after_its_end,
    }
    life {
        closed_comes_once_and_last,
        closing_with_bytes_unsent_does_not_wait,
        stale_keys_do_nothing,
        a_key_used_again_sees_nothing_old,
        closing_one_of_a_batch_silences_it,
        detaching_gives_back_socket_and_unsent_bytes,
        detaching_within_a_call_loses_nothing,
        descriptors_go_in_and_come_out(Descriptors),
        connecting_works,
        connecting_from_a_local_address_works(Ports),
        a_connect_can_be_given_up,
        bytes_sent_while_connecting_go_out,
        a_pause_while_connecting_does_not_connect,
        a_refused_connection_is_an_error,
        a_listener_that_goes_is_an_error,
        a_missing_path_is_an_error,
    }
    listen {
        port_zero_becomes_a_real_port(Ports),
        what_is_accepted_at_a_path_works,
        an_address_in_use_is_an_error,
        a_burst_is_accepted_whole,
        a_resting_listener_keeps_connections_waiting,
        a_closed_listener_refuses,
    }
    wake {
        an_idle_driver_sleeps,
        looking_does_not_sleep,
        a_bell_ends_a_wait,
        a_bell_before_the_wait_ends_it,
        a_bell_rings_once,
        an_armed_descriptor_tells_what_a_wait_would,
        what_is_there_before_a_sleep_elsewhere_is_not_slept_through,
    }
    memory {
        receiving_resumes_when_this_thread_lets_go,
        receiving_resumes_when_another_thread_lets_go,
        a_wanted_block_that_is_out_of_reach_is_done_without,
    }
}
