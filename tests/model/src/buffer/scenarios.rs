//! Programs with a name: what a reader of the buffers would try first. They seed the fuzzer.

use super::{Amount, Count, Letter, Limit, Op, Pick, Program, Size, Source, Via};

const PLAIN: Limit = Limit(0);
const SMALL_POOL: Limit = Limit(3);
const POOL_ENDS_FIRST: Limit = Limit(128);

fn size(bytes: usize) -> Size {
    Size::of(bytes).unwrap_or_else(|| panic!("no size stands for {bytes}"))
}

fn count(pieces: usize) -> Count {
    Count::of(pieces).unwrap_or_else(|| panic!("no count stands for {pieces}"))
}

fn amount(name: &str) -> Amount {
    Amount::named(name).unwrap_or_else(|| panic!("no amount is called {name}"))
}

fn write(bytes: usize) -> Op {
    Op::Write { size: size(bytes), via: Via::Method }
}

fn small(n: u8) -> Amount {
    Amount(n)
}

const FIRST: Pick = Pick(0);

/// All scenarios, by name.
#[must_use]
pub fn all() -> Vec<(&'static str, Program)> {
    let [empty, whole, most, most_of_first] = ["quarter", "all", "most", "first - 1"].map(amount);
    let over = amount("first + 1");
    let with = |limit, ops: &[Op]| Program { limit, ops: ops.to_vec() };
    vec![
        ("nothing", with(PLAIN, &[])),
        (
            "around_a_block",
            with(
                PLAIN,
                &[
                    write(65_535),
                    Op::Take {},
                    Op::Next { amount: most_of_first },
                    write(65_536),
                    Op::Take {},
                    Op::Peek { amount: over },
                    write(65_537),
                    Op::Take {},
                    Op::Slice { amount: whole },
                ],
            ),
        ),
        (
            "larger_than_any_class",
            with(
                PLAIN,
                &[write(1_048_577), Op::Take {}, Op::Slice { amount: most }, Op::Compact {}, Op::Pop {}],
            ),
        ),
        (
            "a_lease_goes_while_bytes_are_reserved",
            with(
                PLAIN,
                &[
                    write(100),
                    Op::Take {},
                    Op::Slice { amount: whole },
                    Op::Reserve { room: size(60), written: whole, committed: whole, lease: FIRST },
                    Op::Take {},
                ],
            ),
        ),
        (
            "a_prefix_is_filled_in_last",
            with(
                PLAIN,
                &[
                    write(7),
                    Op::Hole { len: size(4) },
                    write(65_536),
                    Op::Append { size: size(4096), source: Source::Vec },
                    Op::Take {},
                    Op::Fill { hole: FIRST },
                    Op::Take {},
                    Op::Next { amount: small(11) },
                ],
            ),
        ),
        (
            "holes_thrown_away",
            with(
                PLAIN,
                &[
                    Op::Hole { len: size(0) },
                    Op::Hole { len: size(3) },
                    Op::FillWrongly { hole: Pick(1) },
                    Op::Discard {},
                    Op::Hole { len: size(2) },
                    Op::Fill { hole: FIRST },
                    Op::Take {},
                    Op::Fill { hole: FIRST },
                    Op::Take {},
                ],
            ),
        ),
        (
            "pieces_of_every_origin",
            with(
                PLAIN,
                &[
                    Op::Append { size: size(2049), source: Source::Owner },
                    Op::Append { size: size(2047), source: Source::Vec },
                    Op::Append { size: size(4096), source: Source::Bytes },
                    Op::Take {},
                    Op::Pop {},
                    Op::Append { size: size(0), source: Source::Lease },
                    Op::AppendChain { amount: amount("half") },
                    Op::Take {},
                    Op::IoSlices { entries: count(2) },
                    Op::Peek { amount: whole },
                ],
            ),
        ),
        (
            "a_search_resumes",
            with(
                PLAIN,
                &[
                    write(100),
                    Op::Take {},
                    Op::Find { delimiter: Letter::never() },
                    write(100),
                    Op::Take {},
                    Op::Until { delimiter: Letter::never() },
                    Op::Skip { amount: small(50) },
                    Op::Until { delimiter: Letter(0) },
                    Op::Find { delimiter: Letter(1) },
                    Op::Rotate { amount: small(60) },
                    Op::Find { delimiter: Letter(1) },
                ],
            ),
        ),
        (
            "more_pieces_than_one_call_gathers",
            with(
                PLAIN,
                &[
                    Op::PushPieces { count: count(1025) },
                    Op::IoSlices { entries: count(1024) },
                    Op::Peek { amount: small(100) },
                    Op::Peek { amount: whole },
                    Op::Read { amount: most },
                    Op::ReadBuffered { amount: whole },
                ],
            ),
        ),
        (
            "a_tail_starts_over",
            with(
                PLAIN,
                &[
                    Op::Tail { size: size(4096) },
                    Op::TailPush { amount: small(10) },
                    Op::TailCommit { amount: small(5) },
                    Op::Unique { lease: FIRST },
                    Op::TailReset {},
                    Op::Skip { amount: whole },
                    Op::Compact {},
                    Op::TailReset {},
                    Op::DropElsewhere { lease: FIRST },
                    Op::TailReset {},
                    Op::TailPush { amount: whole },
                ],
            ),
        ),
        (
            "the_pool_runs_out",
            with(
                SMALL_POOL,
                &[
                    write(65_536),
                    Op::Tail { size: size(65_536) },
                    write(131_072),
                    write(65_537),
                    Op::Hole { len: size(4) },
                    Op::Discard {},
                    Op::Write { size: size(262_145), via: Via::BufMut },
                    Op::Write { size: size(262_145), via: Via::Io },
                    Op::Take {},
                    Op::Peek { amount: whole },
                ],
            ),
        ),
        (
            "leases_outlive_the_pool",
            with(
                POOL_ENDS_FIRST,
                &[
                    write(65_537),
                    Op::Take {},
                    Op::Pop {},
                    Op::Cut { lease: FIRST, from: small(3), len: whole },
                    Op::Split { lease: FIRST, at: amount("half") },
                    Op::ThroughBytes { lease: FIRST },
                    Op::Detach { lease: Pick(1) },
                    Op::Push { lease: FIRST },
                    Op::Clone { lease: Pick(1) },
                ],
            ),
        ),
        (
            "a_stream_goes_round_its_chunks",
            with(
                PLAIN,
                &[
                    write(100),
                    Op::Take {},
                    Op::StreamPushSingly { count: count(15) },
                    Op::StreamDrain {},
                    Op::StreamPushSingly { count: count(30) },
                    Op::StreamDrain {},
                    Op::StreamPushSingly { count: count(16) },
                    Op::StreamRefill {},
                    Op::StreamRead { amount: whole },
                    Op::StreamRelease {},
                    Op::StreamPushSingly { count: count(32) },
                    Op::StreamRefill {},
                    Op::StreamSlice { amount: empty },
                    Op::StreamPush { amount: whole },
                    Op::StreamFinish {},
                    Op::StreamRefill {},
                    Op::StreamRefill {},
                ],
            ),
        ),
        (
            "the_ends_of_a_stream_go_away",
            with(
                PLAIN,
                &[
                    write(64),
                    Op::Take {},
                    Op::StreamIntrude { size: size(20) },
                    Op::StreamRelease {},
                    Op::StreamPushSingly { count: count(16) },
                    Op::StreamRefill {},
                    Op::StreamSever {},
                    Op::StreamRefill {},
                    Op::StreamRenew {},
                    Op::StreamPush { amount: small(5) },
                    Op::StreamLeave {},
                    Op::StreamPush { amount: small(5) },
                ],
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Program, all};

    #[test]
    fn names_are_unique_and_programs_survive_their_bytes() {
        let scenarios = all();
        for (index, (name, program)) in scenarios.iter().enumerate() {
            assert_eq!(Program::decode(&program.encode()), *program, "{name}");
            assert!(scenarios[..index].iter().all(|(other, _)| other != name), "{name} is there twice");
        }
    }

    /// The fuzzer's seeds are these scenarios, as bytes. When operations are added their codes change; then
    /// `LINKPOLL_WRITE_SEEDS=1 cargo test -p linkpoll-model seeds` writes the seeds anew.
    #[test]
    fn the_fuzzers_seeds_are_the_scenarios() {
        let seeds = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/buffer_ops"));
        for (name, program) in all() {
            let (seed, bytes) = (seeds.join(name), program.encode());
            if std::env::var_os("LINKPOLL_WRITE_SEEDS").is_some() {
                std::fs::create_dir_all(seeds).unwrap();
                std::fs::write(&seed, &bytes).unwrap();
            }
            assert!(
                std::fs::read(&seed).is_ok_and(|found| found == bytes),
                "{} is out of date",
                seed.display()
            );
        }
    }
}
