//! Programs with a name: the seeds of the fuzzer.

use super::{Op, Program, Setup};

const TURN: Op = Op::Turn {};

fn arrive(size: u8) -> Op {
    Op::Arrive { conn: 0, size }
}

fn end() -> Op {
    Op::End { conn: 0 }
}

fn room(size: u8) -> Op {
    Op::Room { conn: 0, size }
}

fn decide(write: u8, how: u8) -> Op {
    Op::Decide { conn: 0, consume: 255, write, how }
}

/// A call that reads some of what is there.
fn part() -> Op {
    Op::Decide { conn: 0, consume: 128, write: 0, how: 5 }
}

/// A call that reads some of what is there, writes, and lets the connection leave its loop.
fn leaves(consume: u8, write: u8) -> Op {
    Op::Decide { conn: 0, consume, write, how: 19 }
}

fn dial(outcome: u8) -> Op {
    Op::Dial { behaviour: 0, outcome }
}

fn pass(length: u8) -> Op {
    Op::Pass { length }
}

/// Programs that have failed once, as they were found: what the seeds of `tests/regressions/prop_conn.txt` stood for when
/// they were noted.
const FOUND: [(&str, &[u8]); 2] = [
    // A handler congests itself again while it is told that it may write.
    (
        "found_relief_told_twice",
        &[
            246, 0, 166, 0, 220, 2, 116, 149, 12, 2, 36, 233, 6, 187, 127, 0, 172, 15, 223, 6, 143, 90, 12,
            12, 11, 88, 194, 161, 187, 12, 5, 77, 0, 104, 12, 6, 137, 56, 0, 57, 2, 1, 41, 14, 244, 2, 142,
            68, 11, 242, 146, 136, 90, 6, 127, 180, 14, 214, 12, 15, 155, 12, 18, 27, 195, 2, 205, 31, 12,
            14, 249, 5, 123, 12, 0, 121, 17, 46, 14, 142, 11, 86, 208, 209, 249, 14, 244, 12, 11, 194, 97,
            202, 124, 6, 244, 114, 18, 87, 221, 15, 15, 14, 175, 3, 179, 116, 12, 15, 204, 17, 151, 17, 138,
            14, 152, 18, 193, 244, 6, 49, 69,
        ],
    ),
    // A kernel that takes one byte a call, in batches.
    (
        "found_one_byte_a_call",
        &[
            212, 0, 5, 3, 142, 139, 2, 75, 26, 6, 16, 81, 12, 14, 253, 6, 89, 12, 11, 15, 76, 138, 221, 15,
            188, 14, 192, 12, 14, 42, 6, 69, 152, 12, 12, 19, 167, 7, 158, 22, 10, 38, 20, 18, 132, 35, 12,
            7, 229, 165, 12, 15, 31, 2, 171, 134, 13, 2, 27, 73, 6, 248, 168, 2, 17, 236, 18, 53, 105, 11,
            48, 34, 86, 45, 12, 12, 2, 129, 221, 12, 12, 14, 172, 12, 6, 4, 174, 15, 10, 2, 154, 77, 3, 16,
            161, 15, 8,
        ],
    ),
];

/// All of them.
#[must_use]
pub fn all() -> Vec<(&'static str, Program)> {
    let connect = |behaviour| [Op::Connect { behaviour }, TURN];
    let scenarios: Vec<(&str, u8, Vec<Op>)> = vec![
        ("echo", 0, [&connect(0)[..], &[room(15), arrive(5), TURN, arrive(9), TURN, end(), TURN]].concat()),
        ("end_with_data_edge", 5, [&connect(0)[..], &[room(15), arrive(14), end(), TURN, TURN]].concat()),
        (
            "end_while_congested",
            0,
            [&connect(0)[..], &[arrive(13), TURN, arrive(5), end(), TURN, room(15), TURN]].concat(),
        ),
        (
            "pause_and_resume_edge",
            1,
            [&connect(0)[..], &[arrive(13), TURN, arrive(13), room(11), TURN, room(15), TURN]].concat(),
        ),
        (
            "reset_while_flushing",
            0,
            [&connect(1)[..], &[decide(15, 0), arrive(5), TURN, Op::Reset { conn: 0 }, TURN]].concat(),
        ),
        ("reset_after_end", 0, [&connect(7)[..], &[end(), TURN, Op::Reset { conn: 0 }, TURN, TURN]].concat()),
        ("panic_in_data", 0, [&connect(0)[..], &[decide(5, 3), arrive(5), TURN, arrive(5), TURN]].concat()),
        (
            "detach_with_bytes_on_both_sides",
            0,
            [&connect(0)[..], &[room(6), leaves(128, 15), arrive(9), TURN, arrive(5), end(), TURN]].concat(),
        ),
        (
            "detach_while_congested_and_ended_edge",
            1,
            [
                &connect(6)[..],
                &[arrive(13), TURN, arrive(13), end(), TURN, leaves(7, 5), Op::Wake { conn: 0 }, TURN, TURN],
            ]
            .concat(),
        ),
        (
            "detach_what_has_broken",
            4,
            [&connect(0)[..], &[leaves(0, 15), arrive(15), Op::FailSend { conn: 0, how: 0 }, TURN, TURN]]
                .concat(),
        ),
        (
            "dial_that_connects_later",
            0,
            [&connect(0)[..], &[dial(1), TURN, TURN, TURN, end(), TURN]].concat(),
        ),
        (
            "dial_after_a_refusal_edge",
            1,
            [&connect(0)[..], &[dial(151), TURN, TURN, TURN, pass(6), TURN]].concat(),
        ),
        (
            "dial_without_room",
            0,
            [&connect(0)[..], &[dial(6), TURN, pass(3), TURN, pass(3), TURN, TURN]].concat(),
        ),
        (
            "dial_in_vain",
            0,
            [&connect(0)[..], &[dial(12), TURN, pass(5), TURN, pass(6), TURN, TURN]].concat(),
        ),
        (
            "dial_and_stop",
            1,
            [&connect(0)[..], &[dial(5), dial(1), dial(6), TURN, Op::Stop {}, TURN, TURN]].concat(),
        ),
        ("open_hole", 0, [&connect(0)[..], &[decide(5, 4), arrive(5), TURN, TURN]].concat()),
        (
            "stop_while_flushing",
            0,
            [&connect(1)[..], &[decide(15, 0), arrive(5), TURN, Op::Stop {}, TURN, room(15), TURN]].concat(),
        ),
        ("drain_outlived", 16, [&connect(24)[..], &[Op::Stop {}, TURN, arrive(5), TURN]].concat()),
        (
            "linger_without_time",
            8,
            [&connect(1)[..], &[decide(5, 0), room(15), arrive(5), TURN, TURN]].concat(),
        ),
        (
            "short_sends_edge",
            1,
            [
                &connect(0)[..],
                &[Op::ShortSends { conn: 0, size: 4 }, room(15), arrive(13), TURN, room(15), TURN],
            ]
            .concat(),
        ),
        (
            "late_bytes_edge",
            1,
            [&connect(0)[..], &[Op::ArriveLate { conn: 0, size: 5 }, room(15), arrive(5), TURN, TURN]]
                .concat(),
        ),
        (
            "send_fails",
            0,
            [&connect(0)[..], &[Op::FailSend { conn: 0, how: 1 }, arrive(5), TURN, TURN]].concat(),
        ),
        ("vanished_before_accept", 0, [&[Op::Vanish {}][..], &connect(0), &[arrive(5), TURN]].concat()),
        (
            "announced_message",
            0,
            [&connect(64)[..], &[decide(0, 5), arrive(10), TURN, arrive(15), TURN, room(15), end(), TURN]]
                .concat(),
        ),
        (
            "idle_but_for_a_byte",
            64,
            [&connect(0)[..], &[pass(7), arrive(1), room(1), TURN, pass(9), TURN, pass(2), TURN, TURN]]
                .concat(),
        ),
        (
            "message_that_drips",
            64,
            [&connect(128)[..], &[arrive(5), TURN, pass(3), arrive(1), TURN, pass(4), TURN, TURN]].concat(),
        ),
        (
            "message_that_is_read_slowly",
            64,
            [
                &connect(0)[..],
                &[
                    part(),
                    arrive(6),
                    TURN,
                    pass(3),
                    part(),
                    arrive(1),
                    TURN,
                    pass(4),
                    TURN,
                    pass(0),
                    TURN,
                    TURN,
                ],
            ]
            .concat(),
        ),
        (
            "nothing_is_taken",
            64,
            [&connect(0)[..], &[arrive(6), TURN, pass(6), room(1), TURN, pass(6), TURN, pass(3), TURN]]
                .concat(),
        ),
        (
            "nothing_is_taken_while_flushing",
            64,
            [&connect(0)[..], &[decide(6, 0), arrive(6), TURN, pass(7), TURN, TURN]].concat(),
        ),
        (
            "lingering_is_over",
            0,
            [
                &connect(0)[..],
                &[decide(6, 0), room(15), arrive(6), TURN, pass(10), TURN, pass(11), TURN, TURN],
            ]
            .concat(),
        ),
        (
            "too_much_unread",
            32,
            [&connect(128)[..], &[arrive(10), TURN, arrive(10), TURN, end(), TURN, TURN]].concat(),
        ),
        (
            "handed_over_with_bytes_and_end",
            0,
            [
                &connect(7)[..],
                &[room(15), Op::Decide { conn: 0, consume: 100, write: 4, how: 17 }, arrive(9)],
                &[end(), TURN, TURN],
            ]
            .concat(),
        ),
        (
            "paused_woken_and_resumed",
            1,
            [
                &connect(0)[..],
                &[Op::Pause { conn: 0 }, Op::Wake { conn: 0 }, arrive(9), end(), TURN, TURN],
                &[Op::Resume { conn: 0 }, room(15), TURN, TURN],
            ]
            .concat(),
        ),
        (
            "sent_and_closed_by_handle",
            0,
            [
                &connect(0)[..],
                &[
                    room(5),
                    Op::Send { conn: 0, size: 13 },
                    TURN,
                    Op::CloseByHandle { conn: 0 },
                    TURN,
                    room(15),
                    TURN,
                ],
            ]
            .concat(),
        ),
        (
            "direction_ended_while_congested",
            0,
            [
                &connect(7)[..],
                &[decide(14, 16), arrive(5), TURN, Op::Send { conn: 0, size: 5 }, room(15), TURN],
            ]
            .concat(),
        ),
        (
            "aborted_by_handle_while_flushing",
            0,
            [&connect(1)[..], &[decide(15, 0), arrive(5), TURN, Op::Send { conn: 0, size: 5 }, TURN]]
                .concat()
                .into_iter()
                .chain([Op::AbortByHandle { conn: 0 }, TURN])
                .collect(),
        ),
    ];
    let found = FOUND.map(|(name, bytes)| (name, Program::decode(bytes)));
    let scenarios =
        scenarios.into_iter().map(|(name, setup, ops)| (name, Program { setup: Setup(setup), ops }));
    scenarios.chain(found).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fuzzers_seeds_are_the_scenarios() {
        let programs = super::all().into_iter();
        crate::seeds::check("conn_events", programs.map(|(name, program)| (name, program.encode())));
    }
}
