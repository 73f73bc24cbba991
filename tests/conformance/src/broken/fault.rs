//! The faults, and the cases that must notice each.

macro_rules! faults {
    ($($(#[$doc:meta])+ $fault:ident: $($case:ident),+;)+) => {
        /// What a driver does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])+ $fault,)+
        }

        /// Each fault with cases that must notice it. Others may.
        pub const FAULTS: &[(Fault, &[&str])] = &[$((Fault::$fault, &[$(stringify!($case)),+])),+];
    };
}

faults! {
    /// The last bytes before the end are dropped.
    LosesLastBytes: bytes_come_before_the_end, the_end_is_found_behind_more_than_one_turn_takes,
        bytes_from_before_a_hangup_survive_a_pause, the_end_is_found_after_a_pause_within_a_turn;
    /// Two halves of what was received change places.
    Reorders: bytes_arrive_in_order_and_whole, a_wrong_hint_loses_nothing,
        a_wanted_block_that_is_out_of_reach_is_done_without;
    /// Bytes are received after the end.
    ReceivesAfterEnd: the_end_is_told_once;
    /// The end is told twice.
    EndsTwice: the_end_is_told_once;
    /// The end is not told.
    NeverEnds: bytes_come_before_the_end, receiving_goes_on_after_shutdown, an_ended_connection_does_not_spin;
    /// Switching receiving off does nothing.
    IgnoresPause: nothing_is_received_during_a_pause, a_resting_listener_keeps_connections_waiting;
    /// Switching receiving on again does nothing.
    ForgetsToResume: a_pause_loses_nothing, a_resting_listener_keeps_connections_waiting,
        the_end_is_found_after_a_pause_within_a_turn;
    /// Nothing is ever slept through.
    NeverSleeps: a_pause_does_not_spin_when_the_peer_is_gone, an_ended_connection_does_not_spin,
        an_idle_driver_sleeps, a_bell_rings_once;
    /// A look sleeps.
    SleepsWhileLooking: looking_does_not_sleep;
    /// The bell makes no sound.
    DeafToBells: a_bell_ends_a_wait, a_bell_before_the_wait_ends_it;
    /// What a look has found is not known any more when it is asked for before a sleep.
    ForgetsWhatItSaw: what_is_there_before_a_sleep_elsewhere_is_not_slept_through;
    /// A sleep that others make is not prepared for.
    HidesBehindItsDescriptor: an_armed_descriptor_tells_what_a_wait_would;
    /// Each ring is heard many times.
    Echoes: a_bell_rings_once;
    /// Announced messages are received like any others.
    IgnoresHints: a_wanted_message_comes_in_one_block;
    /// More than what was announced is not received.
    TakesHintsForLimits: a_wrong_hint_loses_nothing;
    /// Urgent bytes are told among the others.
    MixesUrgentBytesIn: urgent_bytes_hide_no_others;
    /// Errors are not told.
    SwallowsErrors: a_reset_is_an_error, a_refused_connection_is_an_error, a_listener_that_goes_is_an_error, sending_to_a_peer_that_is_gone_fails,
        sending_fails_when_the_peer_goes_after_its_end, memory_is_released_by_an_error;
    /// A failure to connect at once is answered with success, and nothing follows.
    HidesFailedConnects: a_missing_path_is_an_error;
    /// Other connections must wait while the first one has bytes.
    PlaysFavourites: a_busy_connection_leaves_room_for_others;
    /// Sent bytes are told twice.
    SendsTwice: sent_bytes_add_up, any_number_of_pieces_arrives_in_order;
    /// Sent bytes are told once in two times.
    ForgetsSent: sent_bytes_add_up, connecting_works, what_is_accepted_at_a_path_works;
    /// Two halves of what is sent change places.
    SendsBackwards: any_number_of_pieces_arrives_in_order, a_slow_reader_gets_everything_in_order,
        sending_goes_on_after_the_peer_has_ended, bytes_sent_while_connecting_go_out, shutdown_comes_after_unsent_bytes;
    /// What is sent from where it is counts as not taken.
    ForgetsBytesInPlace: bytes_sent_from_where_they_are_arrive_in_order;
    /// Room is waited for when a chain has more than 32 pieces.
    WaitsForRoom: room_is_not_waited_for_while_there_is_some;
    /// Shutting down does nothing.
    NeverShutsDown: shutdown_comes_after_unsent_bytes, receiving_goes_on_after_shutdown;
    /// Memory is released twice.
    ReleasesTwice: memory_is_released_once_when_it_was_sent, memory_is_released_when_there_is_nothing_to_send;
    /// Memory is never released.
    NeverReleases: memory_is_released_once_when_it_was_sent, memory_is_released_by_close,
        memory_is_released_by_detach, memory_is_released_by_an_error;
    /// Memory is released as soon as it is given.
    ReleasesEarly: memory_is_released_once_when_it_was_sent;
    /// Memory of an empty send is not released.
    ForgetsEmptySends: memory_is_released_when_there_is_nothing_to_send, memory_is_released_by_detach;
    /// A connection is closed, and nobody is told.
    NeverTellsClosed: closed_comes_once_and_last, closing_with_bytes_unsent_does_not_wait, a_closed_listener_refuses,
        a_connect_can_be_given_up;
    /// The close is told twice.
    ClosesTwice: closed_comes_once_and_last;
    /// Events come after the close.
    TalksAfterClose: closing_one_of_a_batch_silences_it;
    /// A connection or listener is not closed, though it is told so.
    LeavesOpen: closed_comes_once_and_last, a_closed_listener_refuses;
    /// Only the slot of a key counts.
    IgnoresGenerations: stale_keys_do_nothing;
    /// The next user of a slot is told what the last one was.
    TellsOldNews: a_key_used_again_sees_nothing_old;
    /// Unsent bytes are dropped when a connection is detached.
    LosesUnsent: detaching_gives_back_socket_and_unsent_bytes;
    /// Bytes that were received and not told are dropped when a connection is detached.
    LosesUntold: detaching_within_a_call_loses_nothing;
    /// A duplicate of a detached descriptor is kept.
    KeepsDuplicates: descriptors_go_in_and_come_out;
    /// A local address is not bound to.
    IgnoresLocalAddresses: connecting_from_a_local_address_works;
    /// A connection counts as established as soon as receiving is switched on.
    ConnectsTooSoon: a_pause_while_connecting_does_not_connect;
    /// Listening answers the address that was asked for.
    KeepsPortZero: port_zero_becomes_a_real_port;
    /// A failure to listen is answered with success.
    HidesTakenPorts: an_address_in_use_is_an_error;
    /// Every tenth connection is dropped.
    DropsConnections: a_burst_is_accepted_whole;
    /// Nobody is told that descriptors ran out.
    SwallowsAcceptFailures: accepting_goes_on_after_descriptors_ran_out;
    /// A listener that failed twice accepts nothing more.
    AcceptsUntilItFails: accepting_goes_on_after_descriptors_ran_out;
    /// Memory that was received is never free again.
    KeepsMemory: receiving_resumes_when_this_thread_lets_go, receiving_resumes_when_another_thread_lets_go;
    /// Memory is watched for on the loop's own thread only.
    DeafToMemory: receiving_resumes_when_another_thread_lets_go;
}
